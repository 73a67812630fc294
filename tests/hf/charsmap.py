"""Precompiled normalization rules as in SentencePiece's models (src/tokenizer/charsmap.h)."""

import base64
import struct
import unicodedata

BLOCK = 256


def build(rules: dict[str, str]) -> bytes:
    """The compiled map from these texts, which contain no NUL, to their replacements."""
    texts = bytearray()
    values = {}
    for key in sorted(rules):
        values[key.encode()] = len(texts)
        texts += rules[key].encode() + b"\0"
    units = double_array(values)
    return struct.pack("<I", 4 * len(units)) + struct.pack(f"<{len(units)}I", *units) + bytes(texts)


def double_array(values: dict[bytes, int]) -> list[int]:
    tree: dict = {}
    for key, value in values.items():
        node = tree
        for byte in key:
            node = node.setdefault(byte, {})
        node[None] = value
    units: list[int | None] = [0]  # None: free
    bases = {0}
    start = 1

    def place(index: int, label: int, node: dict) -> int:
        """Finds the node's base, writes its unit, and reserves its children's places."""
        nonlocal start
        labels = [0 if byte is None else byte for byte in node]
        base = start
        while base in bases or any(
            (base ^ byte) < len(units) and units[base ^ byte] is not None for byte in labels
        ):
            base += 1
        bases.add(base)
        while len(units) <= (base | (BLOCK - 1)):
            units.extend([None] * BLOCK)
        for byte in labels:
            units[base ^ byte] = 0
        while start < len(units) and units[start] is not None:
            start += 1
        offset = index ^ base
        assert offset < 1 << 21
        units[index] = offset << 10 | (None in node) << 8 | label
        return base

    waiting = [(0, 0, tree)]
    while waiting:
        index, label, node = waiting.pop()
        base = place(index, label, node)
        for byte, child in node.items():
            if byte is None:
                units[base] = 1 << 31 | child
            else:
                waiting.append((base ^ byte, byte, child))
    return [0 if unit is None else unit for unit in units]


def step(rules: dict[str, str]):
    """The normalizer of a tokenizer.json."""
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(build(rules)).decode()}


def nfkc_rules(points) -> dict[str, str]:
    """SentencePiece's nmt_nfkc for these code points: NFKC of each and of its decomposition; control
    characters removed, and other white space replaced by spaces."""
    rules = {}
    for c in points:
        composed = unicodedata.normalize("NFKC", chr(c))
        for text in (chr(c), unicodedata.normalize("NFD", chr(c)), unicodedata.normalize("NFKD", chr(c))):
            if text != composed and "\0" not in text:
                rules[text] = composed
    rules |= {chr(c): "" for c in (*range(1, 9), 0x0B, *range(0x0E, 0x20), 0x7F, 0x8F, 0x9F, 0xAD)}
    rules |= {chr(c): " " for c in (0x09, 0x0A, 0x0C, 0x0D, 0x1680, *range(0x2000, 0x2010), 0x2028,
                                    0x2581, 0x3000, 0xFEFF, 0xFFFD)}
    return rules
