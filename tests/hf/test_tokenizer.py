"""assay tokenize against the tokenizers library: no difference in ids or text."""

import json
import os
import random

import charsmap
import pytest
import tokenizer_compositions
from assay_cli import ROOT, run_assay
from nasty_text import ALL, sample
from tokenizer_families import FAMILIES, META, mistral_nemo, phi4_mini
from tokenizers import Tokenizer

BUNDLED = ROOT / "models" / "tiny-qwen3"
QWEN = ROOT.parent / "shared" / "models" / "Qwen3-0.6B"
TEXTS = 100_000
ID_LISTS = 20_000
FAMILY_TEXTS = 3_000
FAMILY_ID_LISTS = 1_000
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
    """Returns one JSON value per input."""
    stdin = "".join(json.dumps(line) + "\n" for line in lines)
    result = run_assay(["tokenize", "--model", model, "--jsonl", *options], stdin)
    values = [json.loads(line) for line in result.stdout.split("\n")[:-1]]
    assert len(values) == len(lines)
    return values


def library_ids(library, texts, special=False):
    encodings = library.encode_batch_fast(texts, add_special_tokens=special)
    return [encoding.ids for encoding in encodings]


def differences(inputs, found, expected):
    bad = [(i, f, e) for i, f, e in zip(inputs, found, expected, strict=True) if f != e]
    return [f"{ascii(i)}: {ascii(f)} instead of {ascii(e)}" for i, f, e in bad[:10]]


def test_ids_are_equal(model, library, rng):
    specials = [token.content for token in library.get_added_tokens_decoder().values()]
    texts = ["", *(sample(rng, specials) for _ in range(TEXTS))]
    assert not differences(texts, tokenize(model, texts), library_ids(library, texts))


def test_every_code_point(model, library):
    points = list(map(chr, ALL))
    per_text = 64  # the library is slow for each text
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


def random_ids(rng, library, count):
    size = library.get_vocab_size()
    added = list(library.get_added_tokens_decoder())
    vocab = library.get_vocab()
    byte_ids = [i for s, i in vocab.items() if len(s) == 1 or s.startswith("<0x")]
    unknown = [size, size + 1, size + 266, 2**31, 2**32 - 1]
    lists = [[]]
    for _ in range(count):
        pools = rng.choices([range(size), byte_ids, byte_ids, added, unknown], k=3)
        lists.append([rng.choice(rng.choice(pools)) for _ in range(rng.randint(1, 24))])
    return lists


def decoding_differences(model, library, lists, skip_special):
    found = tokenize(model, lists, "--decode", *(["--skip-special"] if skip_special else []))
    expected = library.decode_batch(lists, skip_special_tokens=skip_special)
    return differences(lists, found, expected)


@pytest.mark.parametrize("skip_special", [False, True])
def test_decoded_text_is_equal(model, library, rng, skip_special):
    lists = random_ids(rng, library, ID_LISTS)
    assert not decoding_differences(model, library, lists, skip_special)


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.__name__)
def family(request, tmp_path_factory):
    """A directory with a tokenizer.json of that family, and the library's tokenizer from it."""
    directory = tmp_path_factory.mktemp(request.param.__name__)
    contents = json.dumps(request.param())
    (directory / "tokenizer.json").write_text(contents)
    return directory, Tokenizer.from_str(contents)


def test_ids_of_a_family_are_equal(family, rng):
    directory, library = family
    specials = [token.content for token in library.get_added_tokens_decoder().values()]
    texts = ["", " ", META, *(sample(rng, specials) for _ in range(FAMILY_TEXTS))]
    texts += ["a " * 20_000, " " * 20_000, "Ab" * 20_000]
    assert not differences(texts, tokenize(directory, texts), library_ids(library, texts))


def test_special_tokens_of_a_family_are_equal(family, rng):
    """The post-processor's special tokens, around texts that may contain them already."""
    directory, library = family
    specials = [token.content for token in library.get_added_tokens_decoder().values()]
    texts = ["", " ", *specials, *(sample(rng, specials) for _ in range(200))]
    found = tokenize(directory, texts, "--add-special-tokens")
    assert not differences(texts, found, library_ids(library, texts, special=True))


def test_decoded_text_of_a_family_is_equal(family, rng):
    directory, library = family
    lists = random_ids(rng, library, FAMILY_ID_LISTS)
    for skip_special in (False, True):
        assert not decoding_differences(directory, library, lists, skip_special)


@pytest.mark.parametrize("family", [mistral_nemo, phi4_mini], indirect=True)
def test_capitals_small_letters_and_marks_are_equal(family):
    """Each code point, where patterns that distinguish kinds of letters may cut. Without large uniform
    blocks and empty planes, which the native tests cover."""
    directory, library = family
    uniform = [(0x3400, 0xA000), (0xAC00, 0xD7A4), (0x17000, 0x18D00), (0x20000, 0x110000)]
    points = [chr(c) for c in ALL if not any(first <= c < end for first, end in uniform)]
    texts = [
        "".join(f"a{c} {c}Ab" for c in points[i : i + 512]) for i in range(0, len(points), 512)
    ]
    assert not differences(texts, tokenize(directory, texts), library_ids(library, texts))


def test_lengths_in_the_file_are_ignored_as_transformers_does(tmp_path):
    """A call that does not ask for truncation or padding gets none."""
    from transformers import PreTrainedTokenizerFast

    for family in FAMILIES:
        contents = family()
        contents["truncation"] = {"direction": "Right", "max_length": 4,
                                  "strategy": "LongestFirst", "stride": 0}
        contents["padding"] = {"strategy": {"Fixed": 40}, "direction": "Right",
                               "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
                               "pad_token": contents["added_tokens"][0]["content"]}
        file = tmp_path / "tokenizer.json"
        file.write_text(json.dumps(contents))
        assert len(Tokenizer.from_file(str(file)).encode("one two three four five").ids) == 40
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(file))
        text = "The capital of France is 12345"
        expected = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenize(tmp_path, [text]) == [expected]


COMPOSITIONS = 150
COMPOSITION_TEXTS = 60


def test_random_compositions_are_read_as_the_library_reads_them(rng, tmp_path):
    """Uses every component that is read: normalizers, pre-tokenizers, alphabets with gaps, decoders."""
    for _ in range(COMPOSITIONS):
        contents = tokenizer_compositions.draw(rng)
        library = Tokenizer.from_str(tokenizer_compositions.write(contents, tmp_path))
        what = {key: contents[key] for key in ("normalizer", "pre_tokenizer", "decoder")}
        what |= {k: v for k, v in contents["model"].items() if k not in ("vocab", "merges")}
        specials = [token.content for token in library.get_added_tokens_decoder().values()]
        texts = ["", " ", "12345 67", " a  b\n\n c ", *(sample(rng, specials) for _ in range(COMPOSITION_TEXTS))]
        for special in (False, True):
            options = ["--add-special-tokens"] if special else []
            found = tokenize(tmp_path, texts, *options)
            wrong = differences(texts, found, library_ids(library, texts, special))
            assert not wrong, (wrong, what)
        lists = random_ids(rng, library, 40)
        for skip_special in (False, True):
            wrong = decoding_differences(tmp_path, library, lists, skip_special)
            assert not wrong, (wrong, what)


@pytest.mark.parametrize("regex", [r"\p{L}", r"\p{M}", r"\p{N}", r"\p{P}", r"\p{S}", r"\p{Z}", r"\s", r"\d", r"\w",
                                   r"\p{Lu}", r"\p{Ll}", r"\p{Nd}", r"\p{Han}"])
def test_character_classes_are_equal(regex, tmp_path):
    """Each code point, between letters that distinguish its class from every other."""
    contents = with_classes({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated",
                             "invert": False})
    compare_code_points(contents, tmp_path, "{0}{0}")


@pytest.mark.parametrize("name", ["NFD", "NFKC", "NFKD", "Lowercase", "Strip", "Nmt", "StripAccents"])
def test_every_code_point_is_normalized_alike(name, tmp_path):
    options = {"strip_left": True, "strip_right": True} if name == "Strip" else {}
    contents = with_classes(None, normalizer={"type": name} | options)
    compare_code_points(contents, tmp_path, "{0}e\u0301{0}\u0323\u3099")


def test_every_code_point_joins_alike(tmp_path):
    """Whether a character belongs to the letter before it, shown by a map of only that letter."""
    contents = with_classes(None, normalizer=charsmap.step({"a": "X"}))
    compare_code_points(contents, tmp_path, "a{0}\n")


def test_digits_are_equal(tmp_path):
    compare_code_points(with_classes({"type": "Digits", "individual_digits": True}), tmp_path, "a{0}b")


@pytest.mark.parametrize("name", ["Punctuation", "Whitespace", "WhitespaceSplit", "UnicodeScripts", "BertPreTokenizer"])
def test_every_code_point_is_cut_alike(name, tmp_path):
    """Between letters, and between its neighbours in the code charts."""
    contents = with_classes({"type": name} | ({"behavior": "Isolated"} if name == "Punctuation" else {}))
    compare_code_points(contents, tmp_path, "a{0}b\u4e00")
    compare_code_points(contents, tmp_path, "{0}")


def with_classes(pre_tokenizer, **parts):
    """Puts a space before each piece, so that pieces show in the ids."""
    last = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": False}
    return tokenizer_compositions.build(
        tokenizer_compositions.byte_vocabulary(), [],
        pre_tokenizer={"type": "Sequence",
                       "pretokenizers": [part for part in (pre_tokenizer, last) if part]},
        **parts,
    )


def compare_code_points(contents, directory, form):
    library = Tokenizer.from_str(tokenizer_compositions.write(contents, directory))
    points = [chr(c) for c in ALL]
    texts = ["".join(form.format(c) for c in points[i : i + 32]) for i in range(0, len(points), 32)]
    assert not differences(texts, tokenize(directory, texts), library_ids(library, texts))
