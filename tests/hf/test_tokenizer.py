"""assay tokenize against the tokenizers library: no difference in ids or text."""

import json
import os
import random

import pytest
from assay_cli import ROOT, run_assay
from nasty_text import sample
from tokenizers import Tokenizer

BUNDLED = ROOT / "models" / "tiny-qwen3"
QWEN = ROOT.parent / "shared" / "models" / "Qwen3-0.6B"
TEXTS = 100_000
ID_LISTS = 20_000
LONG = {
    "spaces": " " * 1_000_000,
    "letters": "a" * 1_000_000,
    "mixed_letters": "".join(random.Random(1).choices("etaoinshr", k=1_000_000)),
    "newlines": "\n" * 1_000_000,
    "spaces_and_newlines": "  \n" * 300_000,
    "spaces_then_letter": " " * 1_000_000 + "x",
    "digits": "7" * 300_000,
    "punctuation": "-=" * 300_000,
    "apostrophes": "'" * 300_000,
    "marks": "e" + "\u0301\u0323" * 200_000,
    "hanzi": "\u4f60\u597d" * 200_000,
    "added_token_starts": "<|im_" * 100_000,
    "added_tokens": "<|im_start|>" * 50_000,
}


@pytest.fixture(scope="module", params=[BUNDLED, QWEN], ids=["bundled", "qwen3"])
def model(request):
    if not (request.param / "tokenizer.json").exists():
        pytest.skip(f"no {request.param / 'tokenizer.json'}: equality with this tokenizer not tested")
    return request.param


@pytest.fixture(scope="module")
def library(model):
    return Tokenizer.from_file(str(model / "tokenizer.json"))


@pytest.fixture
def rng():
    seed = int(os.environ.get("ASSAY_TEST_SEED") or random.randrange(2**32))
    print(f"ASSAY_TEST_SEED={seed}")  # pytest shows it when the test fails
    return random.Random(seed)


def tokenize(model, lines, *options):
    """One JSON value out for each in."""
    stdin = "".join(json.dumps(line) + "\n" for line in lines)
    result = run_assay(["tokenize", "--model", model, "--jsonl", *options], stdin)
    values = [json.loads(line) for line in result.stdout.split("\n")[:-1]]
    assert len(values) == len(lines)
    return values


def library_ids(library, texts):
    encodings = library.encode_batch_fast(texts, add_special_tokens=False)
    return [encoding.ids for encoding in encodings]


def differences(inputs, found, expected):
    bad = [(i, f, e) for i, f, e in zip(inputs, found, expected, strict=True) if f != e]
    return [f"{ascii(i)}: {ascii(f)} instead of {ascii(e)}" for i, f, e in bad[:10]]


def test_ids_are_equal(model, library, rng):
    specials = [token.content for token in library.get_added_tokens_decoder().values()]
    texts = ["", *(sample(rng, specials) for _ in range(TEXTS))]
    assert not differences(texts, tokenize(model, texts), library_ids(library, texts))


def test_every_code_point(model, library):
    points = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    per_text = 64  # the library takes its time for each text
    texts = [
        "\n".join(f"a{c} {c}" for c in points[i : i + per_text])
        for i in range(0, len(points), per_text)
    ]
    assert not differences(texts, tokenize(model, texts), library_ids(library, texts))


@pytest.mark.parametrize("name", LONG)
def test_long_texts(model, library, name):
    [found] = tokenize(model, [LONG[name]])
    [expected] = library_ids(library, [LONG[name]])
    assert found == expected


@pytest.mark.parametrize("skip_special", [False, True])
def test_decoded_text_is_equal(model, library, rng, skip_special):
    size = library.get_vocab_size()
    added = list(library.get_added_tokens_decoder())
    byte_ids = [library.token_to_id(s) for s in library.get_vocab() if len(s) == 1]
    byte_ids = [i for i in byte_ids if i is not None]
    unknown = [size, size + 1, size + 266, 2**31, 2**32 - 1]
    lists = [[]]
    for _ in range(ID_LISTS):
        pools = rng.choices([range(size), byte_ids, byte_ids, added, unknown], k=3)
        lists.append([rng.choice(rng.choice(pools)) for _ in range(rng.randint(1, 24))])
    options = ["--skip-special"] if skip_special else []
    found = tokenize(model, lists, "--decode", *options)
    expected = library.decode_batch(lists, skip_special_tokens=skip_special)
    assert not differences(lists, found, expected)
