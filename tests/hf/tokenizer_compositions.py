"""tokenizer.json files drawn at random from the components that Assay reads."""

import copy
import functools
import json
import random
import re
from pathlib import Path

import charsmap
from nasty_text import WORDS
from tokenizer_families import (
    META, PATTERNS, added, build, byte_level, byte_vocabulary, metaspace, sentencepiece_vocabulary,
    sequence, split, template, unigram_scores, with_unigram,
)

BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
# Patterns of published tokenizers, and small ones that test the dialect.
REGEXES = [
    *PATTERNS.values(),
    r"\p{N}", r"[0-9][0-9][0-9]", r"\s?\p{L}+", r"\s?\p{P}+", r"\s+$", r"^\s+", r"[\r\n]", r"\p{N}{1,3}",
    r"[\p{P}\$\+<=>\^~\|`]+", r"\w+|[^\w\s]+", r"\b\d+", r"\B.", r"\W", r"\h+", r"\H{2}", r"\d{1,3}(?=(?:\d{3})*\b)",
    r"(?=(\d{3})+(?!\d))", r"[\p{L}&&[^\p{Han}]]+", r"[^a-z[A-Z]]+", r"\p{Han}+|\p{Hiragana}", r"\p{^L}+",
    r"(?<=\s)\S", r"(?<!a)b?", r"a{,2}", r"x*", r"\u0065|\x{301}", r" ?[^(\s|.,!?…。，、।۔،)]+",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}|\p{M}|\x{200C}|\x{200D})+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+",
    r"[\p{P}\$\+<=>\^~\|]+", r"\S+", r"[一-龥぀-ゟ゠-ヿ]+",
    r"(?i)the|of|IN", r"\p{Lu}\p{Ll}+", r"[\p{M}\p{S}]+", r"\p{Sc}|\p{Zs}|\p{Cc}", r".", r"[\p{L}\p{M}]+", r"\S+|\s+",
    "[一-龥ࠀ-一가-퟿]+", r"[!-/:-@\[-`{-~]", r"[\w.-]+", r"(\s)\s", r"\p{C}", r"\p{Nd}+|\p{Nl}|\p{No}",
]
SYMBOLS = ["\u2581", "_", " ", "é", "\u3000"]


@functools.cache
def charsmaps():
    """Some of SentencePiece's rules, and others: with common prefixes, and results that are longer,
    shorter or empty."""
    rng = random.Random(11)
    points = [*range(0xA0, 0x250), *range(0x300, 0x370), *range(0x1E00, 0x1E40), *range(0xFB00, 0xFB07)]
    marks = ["\u0301", "\u0323", "\u200d", "\ufe0f"]
    letters = [*"aeths \n\r", "é", "ß", "你", "한", "\u1100", META, "🙂"]
    maps = [charsmap.step(charsmap.nfkc_rules(points))]
    for _ in range(4):
        rules = {}
        for _ in range(40):
            key = "".join(rng.choices(letters, k=rng.randint(1, 2))) + rng.choice([*marks, "", ""])
            rules[key] = "".join(rng.choices([*letters, *marks], k=rng.choice([0, 1, 1, 2, 5])))
        maps.append(charsmap.step(rules))
    return maps


def draw_normalizer(rng: random.Random):
    kinds = [{"type": form} for form in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Nmt", "StripAccents")]
    kinds += [
        rng.choice(charsmaps()),
        {"type": "Strip", "strip_left": rng.random() < 0.5, "strip_right": rng.random() < 0.5},
        {"type": "Prepend", "prepend": rng.choice([META, " ", "é", "ab"])},
        {"type": "Replace", "pattern": {"String": rng.choice([" ", "  ", "e", "$", "\n"])},
         "content": rng.choice([META, "", "xy", "\u0301"])},
        {"type": "Replace", "pattern": {"Regex": rng.choice([r" {2,}", r"\s+", r"[aeiou]", r"\p{M}", r"^\s"])},
         "content": rng.choice(["", " ", META])},
    ]
    return draw_some(rng, kinds, "normalizers")


def draw_some(rng: random.Random, kinds, field: str):
    count = rng.choice([0, 1, 1, 2, 3])
    if count == 0:
        return None
    parts = [copy.deepcopy(rng.choice(kinds)) for _ in range(count)]
    if count == 1 and rng.random() < 0.6:
        return parts[0]
    if count == 3 and rng.random() < 0.3:  # a Sequence in a Sequence
        return sequence(field, parts[0], sequence(field, *parts[1:]))
    return sequence(field, *parts)


def draw_pre_tokenizer(rng: random.Random, bytes_at_end: bool):
    kinds = []
    for _ in range(6):
        kinds.append(split({"Regex": rng.choice(REGEXES)}, rng.choice(BEHAVIORS), rng.random() < 0.3))
    kinds += [
        split({"String": rng.choice([" ", "e", ".", "ab", "\n"])}, rng.choice(BEHAVIORS), rng.random() < 0.3),
        {"type": "Digits", "individual_digits": rng.random() < 0.5},
        {"type": "WhitespaceSplit"}, {"type": "Whitespace"}, {"type": "UnicodeScripts"}, {"type": "BertPreTokenizer"},
        {"type": "Punctuation", "behavior": rng.choice(BEHAVIORS)},
        {"type": "FixedLength", "length": rng.choice([1, 2, 5, 40])},
        {"type": "CharDelimiterSplit", "delimiter": rng.choice([" ", ".", "\n"])},
        metaspace(rng.choice(["always", "first", "never"]), rng.random() < 0.5)
        | {"replacement": rng.choice(SYMBOLS)},
    ]
    if rng.random() < 0.2:
        kinds.append(byte_level(rng.random() < 0.5, add_prefix_space=rng.random() < 0.5))
    drawn = draw_some(rng, kinds, "pretokenizers")
    if not bytes_at_end:
        return drawn
    last = byte_level(rng.random() < 0.5, add_prefix_space=rng.random() < 0.4)
    return last if drawn is None else sequence("pretokenizers", drawn, last)


def draw_decoder(rng: random.Random):
    kinds = [
        byte_level(True), {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Replace", "pattern": {"String": rng.choice([META, "e", "th"])}, "content": rng.choice([" ", ""])},
        {"type": "Strip", "content": rng.choice([" ", "e", META]), "start": rng.randrange(3),
         "stop": 0},  # the library panics if a token is shorter
        metaspace(rng.choice(["always", "first", "never"]), True),
    ]
    return draw_some(rng, kinds, "decoders")


def draw_post_processor(rng: random.Random):
    kinds = [
        None, byte_level(True, trim_offsets=False), template("<s>", "A"), template("A", "</s>"),
        sequence("processors", byte_level(True), template("<s>", "A", "</s>")),
        {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": True,
         "add_prefix_space": False},
        {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]},
    ]
    return copy.deepcopy(rng.choice(kinds))


def with_gaps(rng: random.Random, contents) -> None:
    """Removes some single-symbol tokens, and the merges that need them."""
    model = contents["model"]
    singles = [t for t in model["vocab"] if len(t) == 1 or re.fullmatch("<0x..>", t)]
    gone = {t for t in rng.sample(singles, rng.randint(1, len(singles) // 2))}
    unreachable = set(gone)
    merges = []
    for left, right in model["merges"]:
        if left in unreachable or right in unreachable:
            unreachable.add(left + right)
        else:
            merges.append([left, right])
    keep = gone if rng.random() < 0.5 else unreachable
    model["merges"] = merges
    model["vocab"] = {t: i for t, i in model["vocab"].items() if t not in keep}
    # Ids stay unchanged; the added tokens have separate entries.


def draw_scores(rng: random.Random):
    """Scores of a Unigram model: as trained, all equal or nearly so, positive, or with ties between all
    ways to cut; without some tokens."""
    scores = dict(unigram_scores())
    how = rng.choice(["trained", "whole", "few", "above", "ties"])
    for token, score in scores.items():
        if how == "whole":
            scores[token] = float(round(score))
        elif how == "few":
            scores[token] = rng.choice([-2.0, -1.5, -1.0, 0.1])
        elif how == "above":
            scores[token] = rng.random() * 40
        elif how == "ties":
            scores[token] = -float(len(token))
    names = [t for t in scores if t not in ("<unk>", "<s>", "</s>")]
    for token in rng.sample(names, rng.choice([0, 20, 150])):
        del scores[token]
    for _ in range(rng.choice([0, 0, 30])):
        scores.setdefault("".join(rng.choices(WORDS, k=2))[:rng.randint(1, 9)], -rng.random() * 9)
    return scores


def draw_unigram(rng: random.Random):
    scores = draw_scores(rng)
    names = ["<unk>", "<s>", "</s>"][rng.random() < 0.3:]  # without it, "<unk>" is ordinary text
    return with_unigram(
        *map(added, names), scores=scores, normalizer=draw_normalizer(rng),
        unk_id=rng.choice([0, 0, 0, rng.randrange(len(scores))]), byte_fallback=rng.random() < 0.5,
        pre_tokenizer=draw_pre_tokenizer(rng, rng.random() < 0.2), decoder=draw_decoder(rng),
        post_processor=draw_post_processor(rng),
    )


def draw(rng: random.Random):
    """The file's contents."""
    if rng.random() < 0.3:
        return draw_unigram(rng)
    is_bytes = rng.random() < 0.6
    front = ["<unk>", "<s>", "</s>"]
    vocabulary = byte_vocabulary() if is_bytes else sentencepiece_vocabulary()
    tokens = [added("<unk>"), added("<s>"), added("</s>", rstrip=rng.random() < 0.3)]
    contents = build(
        vocabulary,
        tokens,
        front=front if is_bytes else (),
        normalizer=draw_normalizer(rng),
        pre_tokenizer=draw_pre_tokenizer(rng, is_bytes),
        post_processor=draw_post_processor(rng),
        decoder=draw_decoder(rng),
        drop_merges=rng.choice([0, 0, 3]),
        unk_token=rng.choice([None, "<unk>"]),
        fuse_unk=rng.random() < 0.5,
        byte_fallback=rng.random() < (0.3 if is_bytes else 0.7),
        ignore_merges=rng.random() < 0.3,
        dropout=rng.choice([None, 0.0]),
    )
    if rng.random() < 0.5:
        with_gaps(rng, contents)
    return contents


def write(contents, directory: Path) -> str:
    text = json.dumps(contents)
    (directory / "tokenizer.json").write_text(text)
    return text
