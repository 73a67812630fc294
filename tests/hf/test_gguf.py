"""GGUF checkpoints against the gguf package and transformers: values, runs, token ids."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from assay_cli import run_assay
from checkpoints import BUNDLED, bundled_weights
from family_checkpoints import write
from fault_models import MODELS
from gguf import GGMLQuantizationType as Type
from nasty_text import sample
from parity import relative_l2
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.integrations.gguf import convert_gguf_tokenizer, get_gguf_tokenizer
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from assay_hf.gguf_file import LINEAR as LINEAR_TYPES
from assay_hf.gguf_file import SCALES, adds_one_to, converted, write_gguf

KINDS = [Type.F32, Type.F16, Type.BF16, *SCALES]
PROMPT = list(range(100, 140))
TOKENIZER = json.loads((BUNDLED / "tokenizer.json").read_text())

# The sizes of a small model of each architecture; the vocabulary is the bundled tokenizer's. Rows
# of 256 allow a block of every tensor type.
SMALL = {
    "vocab_size": 2560,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 128,
    "max_position_embeddings": 512,
    "eos_token_id": 2502,
    "bos_token_id": 2500,
    "pad_token_id": None,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1 + i / 32 for i in range(32)],
    "long_factor": [2 + i / 8 for i in range(32)],
    "original_max_position_embeddings": 32,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 1e6,
    "factor": 16.0,
    "original_max_position_embeddings": 32,
}
MINISTRAL3 = {
    **YARN,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.1,
}
GEMMA = {"sliding_window": 16, "query_pre_attn_scalar": 128}
# Twice as many value heads as key heads shows their order.
LINEAR = {
    "num_hidden_layers": 4,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 64,
    "linear_value_head_dim": 64,
    "linear_conv_kernel_dim": 4,
    "full_attention_interval": 4,
}
LINEAR_EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 256,
    "shared_expert_intermediate_size": 512,
}
GEMMA4 = {
    "model_type": "gemma4_text",
    "num_hidden_layers": 4,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "sliding_window": 16,
    "head_dim": 32,
    "global_head_dim": 64,
    "hidden_size_per_layer_input": 0,
    "vocab_size_per_layer_input": 2560,
    "use_double_wide_mlp": True,
    "final_logit_softcapping": 3.0,
}
# name -> what differs.
ARCHITECTURES: dict[str, dict] = {
    "qwen3": {},
    "qwen3_untied": {"model_type": "qwen3", "tie_word_embeddings": False},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 256},
    "qwen2_moe": {
        "head_dim": None,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 256,
        "shared_expert_intermediate_size": 512,
    },
    "mixtral": {"num_local_experts": 4, "tie_word_embeddings": False, "sliding_window": 16},
    "olmoe": {"head_dim": None, "num_experts": 4, "num_experts_per_tok": 2},
    "glm4_moe": {
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 256,
        "first_k_dense_replace": 1,
        "routed_scaling_factor": 2.5,
        "attention_bias": True,
        "use_qk_norm": True,
    },
    "minimax_m2": {"num_local_experts": 4, "num_experts_per_tok": 2, "rotary_dim": 64},
    "gpt_oss": {
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": 16,
        "head_dim": 64,
        "rope_parameters": {**YARN, "truncate": False},
    },
    "qwen3_next": {**LINEAR, **LINEAR_EXPERTS},
    "qwen3_5_text": LINEAR,
    "qwen3_5_moe_text": {**LINEAR, **LINEAR_EXPERTS},
    "qwen2": {"head_dim": None},
    "qwen2_yarn": {"model_type": "qwen2", "head_dim": None, "rope_parameters": YARN},
    "llama": {"head_dim": 64},
    "llama_bias": {"model_type": "llama", "attention_bias": True},
    "llama3": {"model_type": "llama", "tie_word_embeddings": False, "rope_parameters": LLAMA3},
    "mistral": {"sliding_window": 16, "tie_word_embeddings": False},
    "ministral3": {"rope_parameters": MINISTRAL3},
    "gemma2": GEMMA,
    "gemma3_text": {**GEMMA, "num_hidden_layers": 7},
    "gemma4_text": {**GEMMA4, "hidden_size_per_layer_input": 32, "num_kv_shared_layers": 2},
    "gemma4_experts": {
        **GEMMA4,
        "attention_k_eq_v": True,
        "num_global_key_value_heads": 1,
        "enable_moe_block": True,
        "num_experts": 4,
        "top_k_experts": 2,
        "moe_intermediate_size": 256,
    },
    "olmo2": {"head_dim": None},
    "phi3": {"head_dim": None, "original_max_position_embeddings": 512},
    "phi3_long": {
        "model_type": "phi3",
        "head_dim": None,
        "original_max_position_embeddings": 32,
        "rope_parameters": LONGROPE,
    },
}


def small_config(name: str) -> AutoConfig:
    fields = {"model_type": name, "tie_word_embeddings": True, **SMALL, **ARCHITECTURES[name]}
    if fields["model_type"] == "qwen3_moe":
        fields["norm_topk_prob"] = True  # llama.cpp always does this
    if fields["head_dim"] is None:
        del fields["head_dim"]
    return AutoConfig.for_model(**fields)


def small_weights(config: AutoConfig) -> dict[str, torch.Tensor]:
    """Random, norms about 1."""
    torch.manual_seed(11)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    weights = model.state_dict()
    for name, weight in weights.items():
        if weight.dim() == 1:
            weight.add_(0.1 * torch.randn(weight.shape))
    return weights


def extract(
    model: Path, out: Path, numerics: str = "f32", *options: str
) -> np.lib.npyio.NpzFile:
    prompts = out.parent / "prompts.jsonl"
    prompts.write_text(json.dumps({"id": "p", "input_ids": PROMPT}) + "\n")
    fixed = ["--numerics", numerics, "--compression", "none", "--max-new-tokens", "0"]
    run_assay(["extract", "--model", model, "--prompts", prompts, "--out", out, *fixed, *options])
    return np.load(out / "p" / "reference.npz")


def tied(config: AutoConfig) -> bool:
    return config.tie_word_embeddings


def transformers_tensors(file: Path, net: torch.nn.Module) -> dict[str, torch.Tensor]:
    config = net.config
    # Unknown to transformers' reader, or only in part. The writer only moves elements, and shows with
    # elements that are numbers of their places where each of the file's belongs.
    unknown = ("olmo2", "qwen2_moe", "mixtral", "olmoe", "glm4_moe", "minimax_m2", "gpt_oss", "ministral3", "gemma4_text")
    if config.model_type in (*unknown, *LINEAR_TYPES):
        own = {n: w for n, w in net.state_dict().items() if n != "lm_head.weight" or not tied(config)}
        places = torch.arange(sum(w.numel() for w in own.values())).split([w.numel() for w in own.values()])
        numbered = {n: p.view(w.shape) for p, (n, w) in zip(places, own.items(), strict=True)}
        values = reader_values(file)
        flat = torch.full((sum(map(len, places)),), torch.nan)
        for name, order in converted(config, numbered, moved_only=True):
            flat[torch.tensor(order).long().flatten()] = torch.tensor(values[name]).flatten()
        tensors = {n: flat[order] for n, order in numbered.items()}
        for n, w in tensors.items():
            if adds_one_to(config, n):
                w -= 1
            if n.endswith("A_log"):
                w.copy_((-w.double()).log())
        return tensors
    if config.model_type == "mistral":  # gguf writes it as a llama
        fields = {**config.to_dict(), "model_type": "llama"}
        net = AutoModelForCausalLM.from_config(AutoConfig.for_model(**fields))
    return load_gguf_checkpoint(str(file), return_tensors=True, model_to_load=net)["tensors"]


def transformers_run(file: Path, config: AutoConfig) -> dict[str, np.ndarray]:
    """Every layer's output and the logits, from what transformers' own reader finds in the file.
    
    The config is the original's, because transformers drops some of the file's fields. The reader is
    called as in from_pretrained(gguf_file=...), which itself requires the accelerate package.
    """
    net = AutoModelForCausalLM.from_config(
        copy.deepcopy(config), dtype=torch.float32, attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(torch.nan)  # shows what is not in the file
    tensors = transformers_tensors(file, net)
    missing, unexpected = net.load_state_dict(tensors, strict=False)
    assert not unexpected
    assert missing == (["lm_head.weight"] if config.tie_word_embeddings else [])
    net.tie_weights()
    taps = {}

    def keep(name: str):
        def hook(_module, _inputs, output):
            taps[name] = (output[0] if isinstance(output, tuple) else output).detach().numpy()

        return hook

    for index, layer in enumerate(net.model.layers):
        layer.register_forward_hook(keep(f"layer_{index:02d}_output"))
    with torch.no_grad():
        taps["logits"] = net(torch.tensor([PROMPT])).logits.numpy()
    return taps


def assert_same_run(file: Path, config: AutoConfig, out: Path) -> np.lib.npyio.NpzFile:
    ours = extract(file, out)
    theirs = transformers_run(file, config)
    assert len(theirs) == config.num_hidden_layers + 1
    errors = {
        name: relative_l2(ours[name].astype(np.float64).ravel(), array.astype(np.float64).ravel())
        for name, array in theirs.items()
    }
    assert max(errors.values()) < 1e-5, errors
    return ours


def reader_values(file: Path) -> dict[str, np.ndarray]:
    """gguf's own reading, with gguf's names."""
    return {
        tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        for tensor in gguf.GGUFReader(file).tensors
    }


def assert_same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype == np.float32
    assert np.array_equal(found.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_value_is_ggufs_bit_by_bit(tmp_path: Path, kind: Type) -> None:
    config = small_config("qwen3")
    config.num_hidden_layers, config.vocab_size, config.intermediate_size = 1, 8, 256
    file = write_gguf(tmp_path / "model.gguf", config, small_weights(config), kind)
    names = ["token_embd.weight", "blk.0.ffn_down.weight", "blk.0.attn_norm.weight"]
    expected = reader_values(file)
    listed = json.loads(run_assay(["inspect", file, *names, "--json", "--slice", ":"]).stdout)["arrays"]
    assert [array["name"] for array in listed] == names
    for array in listed:
        found = np.array(array["slice"], dtype=np.float64).astype(np.float32)
        assert found.shape == tuple(array["shape"]) == expected[array["name"]].shape
        assert_same_bits(found, expected[array["name"]])


@pytest.mark.parametrize(
    "kind", [Type.F16, Type.BF16, Type.Q4_0, Type.Q4_K, Type.Q6_K], ids=lambda kind: kind.name
)
def test_qwen3_runs_as_in_transformers(tmp_path: Path, kind: Type) -> None:
    config = small_config("qwen3")
    file = write_gguf(tmp_path / "model.gguf", config, small_weights(config), kind, TOKENIZER)
    ours = assert_same_run(file, config, tmp_path / "out")
    embedding = reader_values(file)["token_embd.weight"]
    assert_same_bits(ours["embedding_output"][0], embedding[PROMPT])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_runs_as_in_transformers(tmp_path: Path, name: str) -> None:
    config = small_config(name)
    file = write_gguf(tmp_path / "model.gguf", config, small_weights(config), Type.Q8_0, TOKENIZER)
    assert_same_run(file, config, tmp_path / "out")


@pytest.mark.parametrize("name", LINEAR_TYPES)
def test_a_delta_rules_checkpoint_in_bf16_is_the_same(tmp_path: Path, name: str) -> None:
    """Also its decay, whose stored form is not: the logarithm rounds to the same BF16."""
    checkpoint = write(MODELS[name], tmp_path / "model")
    net = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.bfloat16)
    file = write_gguf(tmp_path / "m.gguf", net.config, net.state_dict(), Type.BF16)
    arrays = []
    for model in (checkpoint, file):
        arrays.append(extract(model, tmp_path / f"{model.name}-out", "bf16", "--taps", "*"))
    theirs, ours = arrays
    assert set(ours.files) == set(theirs.files) and len(ours.files) > 60
    for array in theirs.files:
        assert np.array_equal(ours[array], theirs[array]), array


def test_an_older_qwen3_next_file_is_the_same(tmp_path: Path) -> None:
    """Before, llama.cpp's converter stored in_proj_qkvz as it is."""
    checkpoint = write(MODELS["qwen3_next"], tmp_path / "model")
    net = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.bfloat16)
    arrays = []
    for older in (False, True):
        file = tmp_path / f"{older}.gguf"
        write_gguf(file, net.config, net.state_dict(), Type.BF16, older_linear=older)
        assert ("blk.0.ssm_in.weight" in reader_values(file)) == older
        arrays.append(extract(file, tmp_path / f"{older}-out"))
    assert all(np.array_equal(arrays[0][name], arrays[1][name]) for name in arrays[0].files)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("ssm.group_count", 3, "a multiple of linear_num_key_heads (3)"),
        ("ssm.time_step_rank", 0, "expected a positive integer"),
        ("ssm.inner_size", 160, "expected"),
        ("ssm.state_size", 8, "expected"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(
    tmp_path: Path, key: str, value: int, message: str
) -> None:
    checkpoint = write(MODELS["qwen3_5_text"], tmp_path / "model")
    net = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.bfloat16)
    file = write_gguf(tmp_path / "m.gguf", net.config, net.state_dict(), Type.BF16)
    field = gguf.GGUFReader(file).get_field(f"qwen35.{key}")
    data = bytearray(file.read_bytes())
    name = f"qwen35.{key}".encode()
    at = data.index(name) + len(name) + 4  # after the value's type
    assert int.from_bytes(data[at : at + 4], "little") == field.contents()
    data[at : at + 4] = value.to_bytes(4, "little")
    file.write_bytes(data)
    found = run_assay(["generate", "x", "--model", file], check=False)
    assert found.returncode == 3 and message in found.stderr, found.stderr


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("gguf")
    config = AutoConfig.from_pretrained(BUNDLED)
    return write_gguf(directory / "m.gguf", config, bundled_weights(), Type.BF16, TOKENIZER)


def test_the_bundled_model_in_bf16_is_the_same_checkpoint(bundled: Path, tmp_path: Path) -> None:
    theirs = extract(BUNDLED, tmp_path / "safetensors")
    for model in (bundled, bundled.parent):  # the file, and a directory with only the file
        ours = extract(model, tmp_path / "gguf")
        assert set(ours.files) == set(theirs.files)
        for name in theirs.files:
            assert np.array_equal(ours[name], theirs[name]), name


def assay_ids(model: Path, texts: list[Any], *options: str) -> list[list[int]]:
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    out = run_assay(["tokenize", "--model", model, "--jsonl", *options], lines).stdout
    return [json.loads(line) for line in out.split("\n")[:-1]]


def nasty_texts(specials: list[str]) -> list[str]:
    rng = random.Random(5)
    return [sample(rng, specials) for _ in range(2000)]


def library_ids(tokenizer: Tokenizer, texts: list[str], special: bool = False) -> list[list[int]]:
    return [e.ids for e in tokenizer.encode_batch_fast(texts, add_special_tokens=special)]


@pytest.mark.parametrize("pre", ["qwen2", "llama-bpe", "tekken", "gpt-2"])
def test_byte_level_ids_are_those_of_transformers(tmp_path: Path, pre: str) -> None:
    config = AutoConfig.from_pretrained(BUNDLED)
    file = write_gguf(tmp_path / "m.gguf", config, {}, Type.F32, TOKENIZER, pre)
    texts = nasty_texts([token["content"] for token in TOKENIZER["added_tokens"]])
    if pre == "qwen2":  # with NFC, which transformers' conversion omits
        expected = Tokenizer.from_file(str(BUNDLED / "tokenizer.json"))
    else:
        architecture, metadata, _ = get_gguf_tokenizer(str(file))
        expected, _ = convert_gguf_tokenizer(architecture, metadata)
    assert assay_ids(file, texts) == library_ids(expected, texts)


CHAT = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}{{ eos_token }}{% endfor %}"
TOOL_USE = "{{ tools | tojson }}{{ messages[-1].content }}"


def test_special_tokens_and_chats_are_those_of_transformers(tmp_path: Path) -> None:
    config = AutoConfig.from_pretrained(BUNDLED)
    named = [{"name": "default", "template": CHAT}, {"name": "tool_use", "template": TOOL_USE}]
    more = {"bos": True, "chat_template": named}
    file = write_gguf(tmp_path / "m.gguf", config, {}, Type.F32, TOKENIZER, "llama-bpe", **more)
    theirs = AutoTokenizer.from_pretrained(tmp_path, gguf_file=file.name)
    expected = theirs(["", "Hello there"])["input_ids"]
    assert expected[0] == [config.bos_token_id]
    assert assay_ids(file, ["", "Hello there"], "--add-special-tokens") == expected

    messages = [{"role": "user", "content": " hi\n"}, {"role": "assistant", "content": "<|im_end|>"}]
    tools = [{"type": "function"}]
    chats = [{"messages": messages}, {"messages": messages, "tools": tools}]
    theirs.chat_template = {t["name"]: t["template"] for t in named}  # it reads only the default
    expected = [
        theirs.apply_chat_template(chat["messages"], chat.get("tools"), return_dict=False)
        for chat in chats
    ]
    found = assay_ids(file, chats, "--chat")
    assert found == expected and found[0][0] == config.bos_token_id


SPACE = "\u2581"


def sentencepiece(prefix: bool) -> Tokenizer:
    """Llama 2's or Gemma's kind of tokenizer, trained on the texts of this directory."""
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    steps = [normalizers.Prepend(SPACE)] if prefix else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", SPACE)])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(SPACE, "merged_with_next")
    files = sorted(Path(__file__).parent.glob("*.py"))
    texts = [file.read_text(encoding="utf-8") for file in files]
    trainer = trainers.BpeTrainer(
        vocab_size=1500, special_tokens=["<unk>", "<s>", "</s>", *byte_tokens], show_progress=False
    )
    tokenizer.train_from_iterator([line for text in texts for line in text.split("\n")], trainer)
    tokenizer.pre_tokenizer = None
    return tokenizer


def write_sentencepiece(file: Path, architecture: str, tokenizer: Tokenizer, prefix: bool) -> None:
    vocab = tokenizer.get_vocab()
    tokens = sorted(vocab, key=vocab.__getitem__)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    rank = {"".join(merge): n for n, merge in enumerate(merges)}
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(rank.get(token, len(tokens))) for token in tokens])
    kinds = [2, 3, 3] + 256 * [6]
    writer.add_token_types(kinds + [1] * (len(tokens) - len(kinds)))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    if not prefix:
        writer.add_add_space_prefix(False)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
def test_sentencepiece_ids_are_those_of_before(tmp_path: Path, architecture: str) -> None:
    prefix = architecture == "llama"
    tokenizer = sentencepiece(prefix)
    write_sentencepiece(tmp_path / "m.gguf", architecture, tokenizer, prefix)
    texts = nasty_texts(["<s>", "</s>"])
    expected = library_ids(tokenizer, texts)
    assert assay_ids(tmp_path / "m.gguf", texts) == expected
    found = assay_ids(tmp_path / "m.gguf", texts, "--add-special-tokens")
    assert found == [[1, *ids] for ids in expected]  # unless the file says otherwise


def test_the_manifest_names_the_file(bundled: Path, tmp_path: Path) -> None:
    out = tmp_path / "reference"
    run_assay(["extract", "--model", bundled, "--prompt", "Hello", "--out", out])
    model = json.loads((out / "manifest.json").read_text())["model"]
    assert model["path_name"] == "m.gguf"
    assert model["config"]["model_type"] == "qwen3"
    assert [w["file"] for w in model["weights"]] == ["m.gguf"]
    assert model["tokenizer"] == model["weights"][0]


def test_every_command_takes_the_file(bundled: Path, tmp_path: Path) -> None:
    doctor = run_assay(["doctor", "--model", bundled, "--out", tmp_path / "x"]).stdout
    assert "all 310 are present, with the right dtypes and shapes" in doctor
    prompt = ["generate", "The capital of France is", "--max-new-tokens", "8"]
    texts = [run_assay([*prompt, "--model", model]).stdout for model in (bundled, BUNDLED)]
    assert texts[0] == texts[1] and "Paris" in texts[0]
    out = tmp_path / "reference"
    run_assay(["extract", "--model", bundled, "--prompt", "Hello", "--taps", "*", "--out", out])
    candidate = out / "prompt1" / "reference.npz"
    found = run_assay(["diagnose", "--model", bundled, "--candidate", candidate]).stdout
    assert "correct" in found
    inspected = run_assay(["inspect", bundled, "blk.27.attn_q.weight"]).stdout
    assert "[128,64]" in inspected
