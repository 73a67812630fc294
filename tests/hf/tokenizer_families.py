"""Small tokenizer.json files, each with the components of one model family.

The vocabularies are trained here on the bundled model's text; everything else is as in the family's
own file.
"""

import copy
import functools
import json
import random
import sys
from itertools import islice

from assay_cli import ROOT
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

sys.path.insert(0, str(ROOT / "python"))

import charsmap  # noqa: E402
import corpus  # noqa: E402
from nasty_text import WORDS  # noqa: E402

META = "\u2581"
RULED = [*range(0xA0, 0x180), *range(0x2000, 0x2100), *range(0xFF01, 0xFF5F)]
DOCUMENTS = 400
BYTE_TOKENS = 440
SENTENCEPIECE_TOKENS = 540
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
LOWER_WORD = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
UPPER_WORD = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
TEKKEN = rf"{LOWER_WORD}|{UPPER_WORD}|\p{{N}}{REST}"
O200K = rf"{LOWER_WORD}{CONTRACTION}|{UPPER_WORD}{CONTRACTION}|\p{{N}}{{1,3}}{REST}"
QWEN3_5 = QWEN2.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")
PATTERNS = {"gpt2": GPT2, "qwen2": QWEN2, "llama3": LLAMA3, "tekken": TEKKEN, "o200k": O200K, "qwen3_5": QWEN3_5}


def training_text():
    """Lines to train on: the corpus, and words of other scripts."""
    rng = random.Random(3)
    documents = list(islice(corpus.documents(5), DOCUMENTS))
    return documents + [" ".join(rng.sample(WORDS, 8)) for _ in range(200)]


def vocabulary(tokenizer, size, special, alphabet):
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(training_text(), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], model["merges"]


@functools.cache
def byte_vocabulary():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return vocabulary(tokenizer, BYTE_TOKENS, [], pre_tokenizers.ByteLevel.alphabet())


@functools.cache
def sentencepiece_vocabulary():
    """Trained on whole lines, so that merges cross words unless something separates them."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", META)
    special = ["<unk>", "<s>", "</s>", *BYTES]
    vocab, merges = vocabulary(tokenizer, SENTENCEPIECE_TOKENS, special, [META, " ", "\n"])
    for run in range(2, 9):  # like SentencePiece's training: runs of spaces
        if META * run not in vocab:
            vocab[META * run] = len(vocab)
            merges.append([META * (run - 1), META])
    return vocab, merges


@functools.cache
def unigram_scores():
    """Token to score; the special tokens and the bytes first, with 0, as in the published files. The
    library's trainer is not used, because its vocabulary differs each time."""
    vocab, _ = sentencepiece_vocabulary()
    rng = random.Random(5)
    scores = dict.fromkeys(["<unk>", "<s>", "</s>", *BYTES], 0.0)
    for rank, token in enumerate(token for token in vocab if token not in scores):
        scores[token] = -4 - rank / 100 - rng.random()
    return scores


def added(content, **flags):
    token = {"content": content, "single_word": False, "lstrip": False, "rstrip": False}
    return token | {"normalized": False, "special": True} | flags


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def byte_level(use_regex, trim_offsets=True, add_prefix_space=False):
    return {"type": "ByteLevel", "add_prefix_space": add_prefix_space,
            "trim_offsets": trim_offsets, "use_regex": use_regex}


def sequence(field, *parts):
    return {"type": "Sequence", field: list(parts)}


def split_then_bytes(pattern, *how):
    return sequence("pretokenizers", split({"Regex": pattern}, *how), byte_level(False))


def template(*single):
    """Names of special tokens, and "A" for the text."""
    pieces = [
        {"Sequence": {"id": "A", "type_id": 0}} if name == "A"
        else {"SpecialToken": {"id": name, "type_id": 0}}
        for name in single
    ]
    return {"type": "TemplateProcessing", "single": pieces, "pair": [], "special_tokens": single}


BYTE_DECODER = byte_level(True, add_prefix_space=True)
POST_BYTES = byte_level(True, trim_offsets=False, add_prefix_space=True)
PREPEND = {"type": "Prepend", "prepend": META}
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": META}
PREPEND_REPLACE = sequence("normalizers", PREPEND, REPLACE)
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
GEMMA_DECODER = sequence(
    "decoders",
    {"type": "Replace", "pattern": {"String": META}, "content": " "},
    {"type": "ByteFallback"},
    {"type": "Fuse"},
)
LLAMA_DECODER = sequence("decoders", *GEMMA_DECODER["decoders"], STRIP)


def metaspace(scheme, split):
    return {"type": "Metaspace", "replacement": META, "prepend_scheme": scheme, "split": split}


def build(vocabulary, added_tokens, *, normalizer=None, pre_tokenizer=None, post_processor=None,
          decoder=BYTE_DECODER, front=(), drop_merges=0, **model):
    """The file's contents. front: special tokens that get the vocabulary's first ids. drop_merges: drops
    one in so many merges and keeps its token."""
    vocab, merges = vocabulary
    vocab = {token: i for i, token in enumerate(front)} | {
        token: i + len(front) for token, i in vocab.items()
    }
    if drop_merges:
        merges = [merge for i, merge in enumerate(merges) if i % drop_merges != 0]
    tokens = []
    for token in added_tokens:
        known = vocab.get(token["content"])
        new = sum(t["content"] not in vocab for t in tokens)
        tokens.append({"id": len(vocab) + new if known is None else known} | token)
    ids = {token["content"]: token["id"] for token in tokens}
    post_processor = copy.deepcopy(post_processor)
    for part in (post_processor or {}).get("processors", [post_processor]):
        if part and part["type"] == "TemplateProcessing":
            part["special_tokens"] = {
                name: {"id": name, "ids": [ids[name]], "tokens": [name]}
                for name in part["special_tokens"] if name != "A"
            }
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": sorted(tokens, key=lambda token: token["id"]),
        "normalizer": normalizer, "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor, "decoder": decoder,
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": False,
                  "byte_fallback": False, "ignore_merges": False}
        | model | {"vocab": vocab, "merges": merges},
    }


def with_bytes(*tokens, **parts):
    return build(byte_vocabulary(), tokens, **parts)


def with_sentencepiece(*tokens, **parts):
    return build(sentencepiece_vocabulary(), tokens, unk_token="<unk>", fuse_unk=True,
                 byte_fallback=True, **parts)


def with_unigram(*tokens, scores=None, unk_id=0, byte_fallback=True, **parts):
    scores = unigram_scores() if scores is None else scores
    contents = build(({token: i for i, token in enumerate(scores)}, []), tokens, **parts)
    contents["model"] = {"type": "Unigram", "unk_id": unk_id,
                         "vocab": [list(pair) for pair in scores.items()],
                         "byte_fallback": byte_fallback}
    return contents


def llama3():
    names = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>"]
    return with_bytes(
        *map(added, [*names, "<|eot_id|>"]), pre_tokenizer=split_then_bytes(LLAMA3),
        post_processor=sequence("processors", POST_BYTES, template("<|begin_of_text|>", "A")),
        ignore_merges=True, drop_merges=3,
    )


def olmo2():
    return with_bytes(
        added("<|endoftext|>"), added("<|im_start|>", special=False), added("<|pad|>"),
        added("|||PHONE_NUMBER|||", special=False), added("  ", special=False),
        added("   ", special=False, normalized=True),
        pre_tokenizer=split_then_bytes(LLAMA3), unk_token="<|endoftext|>",
    )


def qwen3_5():
    return with_bytes(
        added("<|endoftext|>"), added("<|im_start|>"), added("<think>", special=False),
        normalizer={"type": "NFC"}, pre_tokenizer=split_then_bytes(QWEN3_5),
    )


def gpt_oss():
    names = ["<|startoftext|>", "<|return|>", "<|channel|>", "<|start|>", "<|end|>", "<|message|>"]
    return with_bytes(
        *map(added, names), pre_tokenizer=split_then_bytes(O200K), post_processor=POST_BYTES,
        ignore_merges=True, drop_merges=3,
    )


def glm4_moe():
    names = ["[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"]
    return with_bytes(
        *map(added, names), added("<think>", special=False), added("/nothink", special=False),
        pre_tokenizer=split_then_bytes(LLAMA3), post_processor=POST_BYTES,
    )


def minimax_m2():
    names = ["]~!b[", "]~b]", "[e~[", "<fim_prefix>"]
    return with_bytes(
        *map(added, names), added("<minimax:tool_call>", special=False),
        pre_tokenizer=split_then_bytes(O200K, "Removed", True),
    )


def gpt2():
    return with_bytes(
        added("<|endoftext|>", normalized=True), added("e\u0301t\u00e9", normalized=True),
        normalizer={"type": "NFC"}, pre_tokenizer=byte_level(True), post_processor=POST_BYTES,
    )


def phi4():
    return with_bytes(
        added("<|endoftext|>", lstrip=True, rstrip=True), added("<|im_start|>", lstrip=True),
        added("<|im_sep|>", rstrip=True), added("<|dummy_0|>", lstrip=True, rstrip=True),
        added("\n\n", special=False), pre_tokenizer=split_then_bytes(LLAMA3),
    )


def phi4_mini():
    return with_bytes(
        added("<|endoftext|>"), added("<|user|>", rstrip=True), added("<|assistant|>", rstrip=True),
        pre_tokenizer=split_then_bytes(O200K, "Removed", True), post_processor=POST_BYTES,
    )


def mistral_nemo():
    front = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "<SPECIAL_5>"]
    return with_bytes(*map(added, front), front=front, pre_tokenizer=split_then_bytes(TEKKEN),
                      post_processor=template("<s>", "A"), unk_token="<unk>")


def llama2():
    tokens = [added(name, normalized=True) for name in ("<unk>", "<s>", "</s>")]
    return with_sentencepiece(*tokens, normalizer=PREPEND_REPLACE, decoder=LLAMA_DECODER,
                              post_processor=template("<s>", "A"))


def phi3():
    tokens = ["<|endoftext|>", "<|assistant|>", "<|end|>", "<|user|>"]
    return with_sentencepiece(
        added("<unk>"), added("<s>"), added("</s>", rstrip=True, special=False), added(tokens[0]),
        *(added(token, rstrip=True) for token in tokens[1:]), normalizer=PREPEND_REPLACE,
        decoder=LLAMA_DECODER, post_processor=template("A"),
    )


def mistral7b():
    """v0.3, and transformers 5's version for Llama 2."""
    return with_sentencepiece(
        *map(added, ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]),
        pre_tokenizer=metaspace("first", False), decoder=LLAMA_DECODER,
        post_processor=template("<s>", "A"),
    )


def metaspace_always():
    return with_sentencepiece(
        *map(added, ["<unk>", "<s>", "</s>"]), added("house", normalized=True, special=False),
        pre_tokenizer=metaspace("always", True), decoder=LLAMA_DECODER,
        post_processor=template("<s>", "A", "</s>"),
    )


def metaspace_never():
    return with_sentencepiece(
        *map(added, ["<unk>", "<s>", "</s>"]), pre_tokenizer=metaspace("never", True),
        decoder=GEMMA_DECODER, ignore_merges=True, drop_merges=4,
    )


def gemma():
    front = ["<pad>", "<eos>", "<bos>", "<mask>"]
    plain = ["\n\n", "\n\n\n", META * 2, META * 3, "<table>", "</table>"]
    return with_sentencepiece(
        *map(added, front), added("<start_of_turn>"), added("<end_of_turn>"), added("<unk>"),
        *(added(token, special=False) for token in plain), front=front, normalizer=REPLACE,
        pre_tokenizer=split({"String": " "}, "MergedWithPrevious"), decoder=GEMMA_DECODER,
        post_processor=template("<bos>", "A"),
    )


def split_at_spaces():
    """Gemma's Split when it sees spaces; with Gemma's normalizer there are none."""
    return with_sentencepiece(
        *map(added, ["<unk>", "<s>", "</s>"]),
        pre_tokenizer=split({"String": " "}, "MergedWithPrevious"), decoder=GEMMA_DECODER,
    )


def falcon():
    """Falcon's: punctuation first, then GPT-2's pattern, then digits by threes."""
    return with_bytes(
        *map(added, ["<|endoftext|>", ">>TITLE<<"]), post_processor=POST_BYTES,
        pre_tokenizer=sequence(
            "pretokenizers", {"type": "Punctuation", "behavior": "Contiguous"}, byte_level(True),
            {"type": "Digits", "individual_digits": False},
            split({"Regex": "[0-9][0-9][0-9]"}),
        ),
    )


def llm_jp():
    """Unigram with byte fallback."""
    return with_unigram(
        *map(added, ["<unk>", "<s>", "</s>", "<MASK|LLM-jp>"]), post_processor=template("<s>", "A"),
        pre_tokenizer=metaspace("first", False), decoder=LLAMA_DECODER,
    )


def rinna():
    """Unigram with an unknown token, and text after SentencePiece's NFKC rules."""
    return with_unigram(
        *map(added, ["<unk>", "<s>", "</s>", "[CLS]"]), byte_fallback=False,
        normalizer=sequence("normalizers", charsmap.step(charsmap.nfkc_rules(RULED)),
                            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}),
        pre_tokenizer=metaspace("always", True), decoder=metaspace("always", True),
        post_processor=template("A", "</s>"),
    )


def every_flag():
    """Added tokens with all options, near each other."""
    return with_bytes(
        added("one", single_word=True), added("two", single_word=True, lstrip=True, rstrip=True),
        added("#", lstrip=True), added("##", rstrip=True, special=False),
        added("\n", special=False), added(" ", special=False, normalized=True),
        added("\u00e9", normalized=True, single_word=True),
        normalizer=sequence("normalizers", {"type": "NFC"}), pre_tokenizer=split_then_bytes(QWEN2),
    )


FAMILIES = [llama3, qwen3_5, gpt_oss, glm4_moe, minimax_m2, olmo2, gpt2, phi4, phi4_mini, mistral_nemo, llama2, phi3, mistral7b,
            metaspace_always, metaspace_never, gemma, split_at_spaces, every_flag, falcon,
            llm_jp, rinna]
