"""Random strings that are hard on a tokenizer, from a seeded random.Random."""

import sys
import unicodedata

SPACES = [0x20, 0x09, 0x0A, 0x0D, 0x0B, 0x0C, 0x1C, 0x1F, 0x85, 0xA0, 0x1680, 0x180E]
SPACES += [*range(0x2000, 0x2010), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF]
# Letters of the contractions, characters that fold to them (long s, ligatures), other apostrophes.
CONTRACTIONS = [ord(c) for c in "''''strevmldSTREVMLD"]
CONTRACTIONS += [0x17F, 0x212A, 0xFB05, 0xFB06, 0xDF, 0x149, 0x1E9E, 0x130, 0x131, 0x2019, 0x2BC]
EMOJI = [*range(0x1F300, 0x1F650), *range(0x1F680, 0x1F700), *range(0x1F900, 0x1FA00)]
EMOJI_GLUE = [0x200D, 0xFE0F, 0xFE0E, 0x20E3, *range(0x1F3FB, 0x1F400), *range(0xE0020, 0xE0080)]
EMOJI_GLUE += [*range(0x1F1E6, 0x1F200)]
JAMO = [*range(0x1100, 0x1200), *range(0xAC00, 0xAC00 + 28 * 40), *range(0xD7A0, 0xD800)]
# The limits of UTF-8, and encodings of lone surrogates.
EDGES = [0x00, 0x7F, 0x80, 0x7FF, 0x800, 0xFFFC, 0xFFFD, 0xFFFE, 0xFFFF, 0x10000, 0x10FFFF, 0xD7FF]
EDGES += [0xE000, 0xF8FF, 0xFDD0, 0x1FFFE]
# Blocks that are newer than the Unicode version of one of the libraries.
NEW = [*range(0x105C0, 0x10600), *range(0x10D40, 0x10D90), *range(0x11380, 0x11400)]
NEW += [*range(0x11930, 0x11945), *range(0x16100, 0x16140), *range(0x16D40, 0x16D80)]
NEW += [*range(0x1E4D0, 0x1E4FA), *range(0x1E5D0, 0x1E5FB), *range(0x31350, 0x31400)]
NEW += [*range(0x1C89, 0x1C8B), *range(0xA7CB, 0xA7DE), *range(0x1AB0, 0x1B00), 0x897, 0x11A7]

ALL = [c for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]
ASSIGNED = [c for c in ALL if unicodedata.category(chr(c)) not in ("Cn", "Co")]
MARKS = [c for c in ASSIGNED if unicodedata.combining(chr(c))]
COMPOSED = [c for c in ASSIGNED if unicodedata.normalize("NFD", chr(c)) != chr(c)]
LATIN = [*range(0x20, 0x7F)]
POOLS = [LATIN, SPACES, CONTRACTIONS, EMOJI, EMOJI_GLUE, JAMO, EDGES, NEW, ALL, ASSIGNED, MARKS]
POOLS += [COMPOSED, [*range(0x20)], [*range(0x300)], [*range(0x30, 0x3A), 0xB2, 0xBD, 0x661]]

WORDS = """the The quick fox's I'm we'll DON'T it's they've o'clock 'tis l'été naïve Straße 2+2=4
3.14159 1,000,000 0xFF foo_bar camelCase HTTPServer std::vector<int> == != => // /* */ {} [] ();
https://example.org/a?b=c&d user@example.org C:\\temp 你好，世界 こんにちは 안녕하세요 Привет мир
שלום مرحبا नमस्ते สวัสดี Ελλάδα Հայերեն ქართული አማርኛ 🙂 👨‍👩‍👧‍👦 🇩🇪 👍🏽 ❤️ … — “quotes” ½ x² ①""".split()


def sample(random, specials):
    """One string; `specials` are the tokenizer's added tokens."""
    kind = random.randrange(8)
    if kind == 0:  # one code point, sometimes doubled or with others
        c = chr(random.choice(ALL))
        return random.choice([c, c + c, "a" + c + "b", " " + c, "e\u0301" + c, c + "\u0323\u0301"])
    if kind == 1:  # one script: neighbours in the code charts
        start = random.choice(ASSIGNED)
        points = [min(start + random.randrange(64), sys.maxunicode) for _ in range(12)]
        text = "".join(chr(p) for p in points if not 0xD800 <= p < 0xE000)
        return text if random.random() < 0.5 else unicodedata.normalize("NFD", text)
    if kind == 2:  # runs
        text = ""
        for _ in range(random.randint(1, 6)):
            text += chr(random.choice(random.choice(POOLS))) * random.choice([1, 2, 3, 7, 30, 120])
        return text
    if kind == 3:  # ordinary text
        gaps = [" ", "  ", "\n", "\n\n", "\t", "", ", ", ". ", "\r\n", "   \n  "]
        words = random.choices(WORDS, k=random.randint(1, 12))
        return "".join(word + random.choice(gaps) for word in words)
    if kind == 4 and specials:  # added tokens, whole, cut and glued
        text = ""
        for _ in range(random.randint(1, 5)):
            token = random.choice(specials)
            cut = random.randint(0, len(token))
            text += random.choice([token, token[:cut], token[cut:], token * 2, token.upper()])
            text += random.choice(["", " ", "\n", "'s", "\u0301", "<", random.choice(WORDS)])
        return text
    text = ""  # anything
    for _ in range(random.randint(1, 20)):
        text += chr(random.choice(random.choice(POOLS)))
    return text
