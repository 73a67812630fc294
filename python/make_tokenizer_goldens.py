"""Writes tests/tokenizer/data: what the tokenizers library makes of the bundled tokenizer, and of
those of the other families (tests/hf/tokenizer_families.py).

encode.json   [{"text", "ids"}]: chosen and random strings (fixed seed)
decode.json   [{"ids", "skip_special", "text"}]
unicode.json  upper, lower, letters (others), marks, numbers, spaces: ranges of code points, as the
              split patterns see them; words: as added tokens bound to whole words see them
              nfc: for each 4096 code points a digest of their NFC in four surroundings
families/NAME.json  tokenizer: the tokenizer.json; encode: [{"text", "ids", "with_special"}];
              decode: as above; id_of: {token: id}

Usage: make_tokenizer_goldens.py (from anywhere; needs python/requirements.txt)
"""

import hashlib
import json
import random
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "hf"))

from nasty_text import ALL, sample  # noqa: E402
from tokenizer_families import FAMILIES  # noqa: E402

MODEL = ROOT / "models" / "tiny-qwen3"
OUT = ROOT / "tests" / "tokenizer" / "data"
RANDOM_TEXTS = 80
RANDOM_IDS = 60
FAMILY_TEXTS = 24
FAMILY_IDS = 10
NFC_BLOCK = 4096

TEXTS = [
    "",
    "Hello",
    "The capital of France is",
    "What is 2+2?",
    " Hello world",
    "I'm fine, they'LL say 'tis so; we'\u017f it",
    "a\n\n\nb",
    "  two spaces",
    "trailing   ",
    "\t tab \r\n\r\n line",
    "e\u0301 \u00e9 \u1e0b\u0323",
    "你好，世界",
    "🙂 👨‍👩‍👧‍👦 🇩🇪 👍🏽",
    "100,000.50",
    "<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n",
    "<think>\n\n</think>\n\n",
    "<|im_start|><|im_start|>x<|im_end|<|im_end|>",
    "<|im_start\u0301|>",
    "<|endoftext|>\u0301",
    "\u0000\u0001\u007f\u0080\uffff\U0010ffff",
    "\ufffd\ufffd",
    "x" * 200,
    " " * 200 + "x",
    "\n" * 150,
    "1" * 100,
    "\uae30\u11a7 \u1100\u1161\u11a8",
    "a\u180eb \U00010d40\U000116d0 \U00031350\u1c89",
    "\U00011935\U00011930 a\u0327\u0897\u0301",
]


def ranges(points):
    result = []
    for point in points:
        if result and result[-1][1] == point - 1:
            result[-1][1] = point
        else:
            result.append([point, point])
    return result


def class_ranges(pattern):
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    return ranges([c for c in ALL if not split.pre_tokenize_str(chr(c))])


def word_ranges():
    """Code points that keep a single_word token from being found before them."""
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    tokenizer.add_tokens([AddedToken("#", single_word=True, normalized=False)])
    encodings = tokenizer.encode_batch([f" #{chr(c)}" for c in ALL])
    return ranges([c for c, encoding in zip(ALL, encodings) if 1 not in encoding.ids])


def nfc_digests(normalizer):
    digests = []
    for start in range(0, sys.maxunicode + 1, NFC_BLOCK):
        digest = hashlib.sha256()
        for point in range(start, start + NFC_BLOCK):
            if 0xD800 <= point < 0xE000:
                continue
            c = chr(point)
            for text in (c, c + "\u0301", f"a{c}\u093c\u0327", f"e\u0301{c}\u0323\u3099"):
                digest.update(normalizer.normalize_str(text).encode() + b"\0")
        digests.append(digest.hexdigest()[:8])
    return digests


def decode_cases(tokenizer, rng, count):
    size = tokenizer.get_vocab_size()
    specials = list(tokenizer.get_added_tokens_decoder())
    lists = [[], [size], [specials[0], specials[-1], specials[0]]]
    for _ in range(count):
        pools = rng.choices([range(size), range(256), specials, [size, 2**31]], [4, 8, 2, 1], k=4)
        lists.append([rng.choice(rng.choice(pools)) for _ in range(rng.randint(1, 12))])
    for skip_special in (False, True):
        for ids in lists:
            text = tokenizer.decode(ids, skip_special_tokens=skip_special)
            yield {"ids": ids, "skip_special": skip_special, "text": text}


def write_family(contents, name, rng):
    tokenizer = Tokenizer.from_str(json.dumps(contents))
    specials = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    texts = ["", " ", "Hello", " two  spaces ", "I'M fine, they'll see 12345 HTTPServers/\n\n",
             "e\u0301 你好 🙂\u2581x", "".join(f"a {token} b{token}" for token in specials)]
    texts += [sample(rng, specials) for _ in range(FAMILY_TEXTS)]
    encode = [
        {"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids,
         "with_special": tokenizer.encode(text).ids}
        for text in texts
    ]
    asked = [*specials, "e", "\u0120", "\u2581", "<0x0A>", "no such token"]
    parts = {
        "tokenizer": contents,
        "encode": encode,
        "decode": list(decode_cases(tokenizer, rng, FAMILY_IDS)),
        "id_of": {token: tokenizer.token_to_id(token) for token in asked},
    }
    lines = ",\n".join(f'"{key}": {json.dumps(part, separators=(",", ":"))}'
                       for key, part in parts.items())
    (OUT / "families" / f"{name}.json").write_text(f"{{\n{lines}\n}}\n")


def write_lines(name, items):
    lines = ",\n".join(json.dumps(item) for item in items)
    (OUT / name).write_text(f"[\n{lines}\n]\n")


def main():
    (OUT / "families").mkdir(parents=True, exist_ok=True)
    rng = random.Random(20)
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    specials = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    texts = TEXTS + [sample(rng, specials) for _ in range(RANDOM_TEXTS)]
    encodings = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    write_lines("encode.json", [{"text": t, "ids": e.ids} for t, e in zip(texts, encodings)])
    write_lines("decode.json", decode_cases(tokenizer, rng, RANDOM_IDS))
    unicode = {
        "upper": class_ranges(r"[\p{Lu}\p{Lt}]"),
        "lower": class_ranges(r"\p{Ll}"),
        "letters": class_ranges(r"[\p{Lm}\p{Lo}]"),
        "marks": class_ranges(r"\p{M}"),
        "numbers": class_ranges(r"\p{N}"),
        "spaces": class_ranges(r"\s"),
        "words": word_ranges(),
        "nfc": nfc_digests(tokenizer.normalizer),
    }
    lines = ",\n".join(f'"{k}": {json.dumps(v, separators=(",", ":"))}' for k, v in unicode.items())
    (OUT / "unicode.json").write_text(f"{{\n{lines}\n}}\n")
    for family in FAMILIES:
        write_family(family(), family.__name__, rng)


if __name__ == "__main__":
    main()
