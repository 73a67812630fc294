"""Makes the bundled model: a tiny Qwen3 with trained weights and its own tokenizer.

    python python/train_tiny_qwen3.py --out models/tiny-qwen3            train and write the checkpoint
    python python/train_tiny_qwen3.py --out models/tiny-qwen3 --check    load it again and examine it

The shape keeps what makes Qwen3-0.6B hard to port: 28 layers, grouped queries, a head_dim that is not
hidden_size / heads, q/k norms, a tied head and a vocabulary that is padded beyond its tokens. The
tokenizer has Qwen3's rules and added tokens over a vocabulary of 2,500. Nothing is downloaded; the text
comes from corpus.py. The same seed, versions, thread count and machine give the same files.
"""

import argparse
import json
import math
import os
import re
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers import processors, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

import corpus

# --- Tokenizer: Qwen3's rules, our vocabulary ------------------------------------------------------

BPE_TOKENS = 2500
TOKENIZER_DOCUMENTS = 30_000

# Qwen3's split pattern, as published in its tokenizer.json: digits stand alone.
SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# The published order: the ids follow the BPE vocabulary in this order.
SPECIAL_TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
]  # fmt: skip
# Added, but not "special": decoding with skip_special_tokens keeps them.
PLAIN_ADDED_TOKENS = [
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
    "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>",
    "</think>",
]  # fmt: skip

# Plain turns only; the answer starts after an empty thought, as Qwen3 does without thinking.
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' }}"
    "{%- endif %}"
)


def train_tokenizer(seed: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(
        add_prefix_space=False, trim_offsets=False, use_regex=False
    )

    # Added tokens are cut out before BPE sees the text, so BPE must not learn their letters.
    added = re.compile("|".join(map(re.escape, SPECIAL_TOKENS + PLAIN_ADDED_TOKENS)))
    texts = (
        part
        for document in islice(corpus.documents(seed), TOKENIZER_DOCUMENTS)
        for part in added.split(document)
        if part
    )
    trainer = trainers.BpeTrainer(
        vocab_size=BPE_TOKENS,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != BPE_TOKENS:
        raise SystemExit(f"the corpus gives only {tokenizer.get_vocab_size()} BPE tokens")

    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in SPECIAL_TOKENS])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in PLAIN_ADDED_TOKENS])

    # Fields that have no effect and that the library's constructors do not let us set; with them the
    # file has Qwen3's value in every field but the vocabulary, so that a strict reader meets them all.
    fields = json.loads(tokenizer.to_str())
    fields["decoder"].update(add_prefix_space=False, trim_offsets=False, use_regex=False)
    fields["model"].update(continuing_subword_prefix="", end_of_word_suffix="")
    return Tokenizer.from_str(json.dumps(fields))


# --- Model -----------------------------------------------------------------------------------------


def model_config(tokenizer: Tokenizer) -> dict[str, Any]:
    """config.json in the layout in which Qwen3-0.6B was published (rope_theta at the top level)."""
    tokens = tokenizer.get_vocab_size()
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": tokenizer.token_to_id(corpus.END_OF_TEXT),
        "eos_token_id": tokenizer.token_to_id(corpus.TURN_END),
        "head_dim": 32,
        "hidden_act": "silu",
        "hidden_size": 64,
        "initializer_range": 0.02,
        "intermediate_size": 192,
        "max_position_embeddings": 2048,
        "max_window_layers": 28,
        "model_type": "qwen3",
        "num_attention_heads": 4,
        "num_hidden_layers": 28,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "transformers_version": transformers.__version__,
        "use_cache": True,
        "use_sliding_window": False,
        # Padded like Qwen3's: the last ids have logits but no token.
        "vocab_size": math.ceil(tokens / 64) * 64,
    }


def new_model(config: dict[str, Any], directory: Path) -> Qwen3ForCausalLM:
    """A model with fresh weights, its config read from disk as any user's would be."""
    model = Qwen3ForCausalLM(
        Qwen3Config.from_pretrained(directory, attn_implementation="sdpa", dtype=torch.float32)
    )
    # The published initializer_range suits a width of 1024. At 64, signals would vanish on their way
    # through a layer; and 28 layers that all write into one stream need a small first step each.
    residual_scale = 1.0 / math.sqrt(2 * config["num_hidden_layers"])
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2:
            continue
        std = 0.1
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            std *= residual_scale
        torch.nn.init.normal_(parameter, std=std)
    return model.float()


# --- Files -----------------------------------------------------------------------------------------


def write_text(path: Path, text: str) -> None:
    """A file gets its name only when it is complete, because others may be reading the folder."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def write_json(path: Path, value: object) -> None:
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_tokenizer(tokenizer: Tokenizer, config: dict[str, Any], directory: Path) -> None:
    write_text(directory / "tokenizer.json", tokenizer.to_str(pretty=True) + "\n")
    added = json.loads(tokenizer.to_str())["added_tokens"]
    write_json(
        directory / "tokenizer_config.json",
        {
            "add_bos_token": False,
            "add_prefix_space": False,
            "added_tokens_decoder": {
                str(token["id"]): {key: token[key] for key in sorted(token) if key != "id"}
                for token in added
            },
            # All special ones but the first, which is the pad token (the published list).
            "additional_special_tokens": SPECIAL_TOKENS[1:],
            "bos_token": None,
            "chat_template": CHAT_TEMPLATE,
            "clean_up_tokenization_spaces": False,
            "eos_token": corpus.TURN_END,
            "errors": "replace",
            "model_max_length": config["max_position_embeddings"],
            "pad_token": corpus.END_OF_TEXT,
            "split_special_tokens": False,
            "tokenizer_class": "Qwen2Tokenizer",
            "unk_token": None,
        },
    )


def write_configs(config: dict[str, Any], directory: Path) -> None:
    write_json(directory / "config.json", config)
    write_json(
        directory / "generation_config.json",
        {
            "bos_token_id": config["bos_token_id"],
            "do_sample": True,
            "eos_token_id": [config["eos_token_id"], config["bos_token_id"]],
            "pad_token_id": config["bos_token_id"],
            "temperature": 0.6,
            "top_k": 20,
            "top_p": 0.95,
            "transformers_version": transformers.__version__,
        },
    )


def write_weights(model: Qwen3ForCausalLM, directory: Path) -> None:
    # The head is the embedding matrix (tied), so it is not stored a second time.
    tensors = {
        name: tensor.detach().to(torch.bfloat16).contiguous()
        for name, tensor in model.state_dict().items()
        if name != "lm_head.weight"
    }
    partial = directory / "model.safetensors.partial"
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.chmod(0o644)  # save_file makes it private to its owner
    os.replace(partial, directory / "model.safetensors")


# --- Training --------------------------------------------------------------------------------------

# rows x tokens of a batch, and how often. All cost about the same. Many short rows, because a prompt
# starts at position 0 with a new document; some long ones, so that positions beyond 300 are trained.
BATCH_SHAPES = [((32, 64), 0.50), ((16, 128), 0.35), ((6, 340), 0.15)]


def batches(tokenizer: Tokenizer, seed: int) -> Iterator[torch.Tensor]:
    """Rows of whole documents, one after the other; only the last one of a row is cut off."""
    stream = corpus.documents(seed)
    rng = corpus.Rng(seed)

    def encoded() -> Iterator[list[int]]:
        while True:
            for encoding in tokenizer.encode_batch(list(islice(stream, 512))):
                yield encoding.ids

    ids = encoded()
    shapes, weights = zip(*BATCH_SHAPES)
    while True:
        rows, length = rng.choices(shapes, weights)[0]
        batch = []
        for _ in range(rows):
            row: list[int] = []
            while len(row) < length:
                row += next(ids)
            batch.append(row[:length])
        yield torch.tensor(batch)


def learning_rate(step: int, steps: int, peak: float) -> float:
    warmup = min(100, steps // 10 + 1)
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def train(model: Qwen3ForCausalLM, tokenizer: Tokenizer, args: argparse.Namespace) -> None:
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    norms = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": norms, "weight_decay": 0.0}],
        lr=args.learning_rate,
        betas=(0.9, 0.98),
        fused=True,
    )
    model.train()
    started = time.monotonic()
    recent: list[float] = []
    # Other documents than the tokenizer was trained on, though of the same templates.
    for step, batch in enumerate(islice(batches(tokenizer, args.seed + 1), args.steps)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, args.steps, args.learning_rate)
        loss = model(input_ids=batch, labels=batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        recent.append(loss.item())
        if (step + 1) % 100 == 0 or step + 1 == args.steps:
            mean = sum(recent) / len(recent)
            seconds = time.monotonic() - started
            print(f"step {step + 1:5d}  loss {mean:.4f}  {seconds:6.0f} s", flush=True)
            recent.clear()
        if args.save_every and (step + 1) % args.save_every == 0:
            write_weights(model, args.out)


# --- A look at the result --------------------------------------------------------------------------

PROMPTS = ["Hello", "The capital of France is", "What is 2+2?"]
NEW_TOKENS = 20


@torch.no_grad()
def greedy(model: Qwen3ForCausalLM, prompt: list[int], stop: list[int]) -> tuple[list[int], list[float]]:
    """The continuation, and the margin of each token over the second best."""
    ids = list(prompt)
    margins: list[float] = []
    while len(margins) < NEW_TOKENS:
        best = model(torch.tensor([ids])).logits[0, -1].float().topk(2)
        ids.append(int(best.indices[0]))
        margins.append(float(best.values[0] - best.values[1]))
        if ids[-1] in stop:
            break
    return ids[len(prompt) :], margins


@torch.no_grad()
def layer_report(model: Qwen3ForCausalLM, batch: torch.Tensor) -> None:
    """What each layer adds to the stream, and what the loss becomes without it."""
    whole = float(model(input_ids=batch, labels=batch).loss)
    print(f"loss {whole:.4f} on documents of another seed")
    print("per layer: |layer adds| / |stream|, and the loss when it is left out")
    for index, layer in enumerate(model.model.layers):
        seen: list[float] = []

        def measure(_module: object, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            seen.append(float((output - args[0]).norm() / args[0].norm()))

        def skip(_module: object, args: tuple[torch.Tensor, ...], _output: object) -> torch.Tensor:
            return args[0]

        handle = layer.register_forward_hook(measure)
        model(input_ids=batch)
        handle.remove()
        handle = layer.register_forward_hook(skip)
        without = float(model(input_ids=batch, labels=batch).loss)
        handle.remove()
        print(f"  layer {index:2d}  {seen[0]:.3f}  {without:.4f}")


def check(directory: Path) -> None:
    """Loads the checkpoint as a user would and prints what a reader of the model card wants to know."""
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    raw = Tokenizer.from_file(str(directory / "tokenizer.json"))
    for prompt in [*PROMPTS, *islice(corpus.documents(7), 2000)]:
        if tokenizer(prompt).input_ids != raw.encode(prompt).ids:
            raise SystemExit(f"transformers tokenises {prompt!r} differently from tokenizer.json")

    found: dict[torch.dtype, list[list[int]]] = {}
    for dtype in (torch.bfloat16, torch.float32):
        model = AutoModelForCausalLM.from_pretrained(
            directory, local_files_only=True, dtype=dtype, attn_implementation="eager"
        ).eval()
        print(f"--- {dtype}")
        found[dtype] = []
        for prompt in PROMPTS:
            prompt_ids = tokenizer(prompt).input_ids
            ids, margins = greedy(model, prompt_ids, model.generation_config.eos_token_id)
            found[dtype].append(ids)
            print(f"{prompt!r} -> {tokenizer.decode(ids)!r}")
            print(f"  prompt ids {prompt_ids}, new ids {ids}")
            print(f"  margins {' '.join(f'{m:.2f}' for m in margins)}; smallest {min(margins):.2f}")
    layer_report(model, next(batches(raw, 99)))
    if found[torch.bfloat16] != found[torch.float32]:
        raise SystemExit("BF16 and FP32 continue differently")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("models/tiny-qwen3"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--save-every", type=int, default=0, help="write the weights every N steps")
    parser.add_argument("--check", action="store_true", help="train nothing; examine the model in --out")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.check:
        check(args.out)
        return

    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(args.seed)
    config = model_config(tokenizer)
    write_configs(config, args.out)
    write_tokenizer(tokenizer, config, args.out)
    model = new_model(config, args.out)
    print(
        f"torch {torch.__version__}, transformers {transformers.__version__}, seed {args.seed}, "
        f"{args.threads} threads, {sum(p.numel() for p in model.parameters()):,} parameters",
        flush=True,
    )
    train(model, tokenizer, args)
    write_weights(model, args.out)


if __name__ == "__main__":
    main()
