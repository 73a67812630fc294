"""Writes reference activations as `assay extract` does, but made by HuggingFace transformers.

    python python/extract_reference.py --model models/tiny-qwen3 --out reference_data --dtype bf16

Local files only, eager attention, greedy. --dtype f64 runs transformers in double, also where it
would stay FP32 (see assay/capture/double.py). Exit codes: 0 good, 2 wrong usage, 3 bad input.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np  # noqa: E402

from assay.capture import files  # noqa: E402
from assay.capture.errors import InputError, UsageError  # noqa: E402
from assay_hf.model import HfModel, Numerics  # noqa: E402
from assay.capture.prompts import Prompt, collect_prompts  # noqa: E402
from assay_hf.taps import choose_taps, record  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Write reference activations made by HuggingFace transformers."
    )
    parser.add_argument(
        "--model",
        type=Path,
        default=ROOT / "models" / "tiny-qwen3",
        help="checkpoint directory (default: the bundled model)",
    )
    parser.add_argument("--prompt", action="append", default=[], help="a prompt; may be repeated")
    parser.add_argument(
        "--prompts",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help='a prompt per line, or .jsonl with "text" or "input_ids"',
    )
    parser.add_argument("--out", type=Path, default=Path("reference_data"))
    parser.add_argument("--dtype", choices=[n.value for n in Numerics], default="bf16")
    parser.add_argument(
        "--taps",
        action="extend",
        nargs="+",
        default=[],
        metavar="GLOB",
        help="further arrays to record, e.g. 'layer_03_*'",
    )
    parser.add_argument("--max-new-tokens", type=int, default=20, metavar="N")
    options = parser.parse_args(arguments)
    if options.max_new_tokens < 0:
        parser.error("--max-new-tokens must not be negative")
    return options


def tokenize(prompts: list[Prompt], model: HfModel, tokenizer: Tokenizer | None) -> None:
    """Fills in the ids of the prompts that came as text, and checks all."""
    vocab = model.config.vocab_size
    for prompt in prompts:
        if prompt.text is not None:
            if tokenizer is None:
                raise InputError(f"{model.directory / 'tokenizer.json'}: missing, prompts are text")
            prompt.input_ids = tokenizer.encode(prompt.text, add_special_tokens=False).ids
        if not prompt.input_ids:
            raise InputError(f"{prompt.id}: no tokens, expected at least one")
        for token in prompt.input_ids:
            if not 0 <= token < vocab:
                raise InputError(f"{prompt.id}: token id {token}, expected 0 to {vocab - 1}")


def extract_prompt(
    model: HfModel, prompt: Prompt, taps: list[str], max_new_tokens: int
) -> dict[str, np.ndarray]:
    """The arrays of one reference.npz, in file order."""
    generated = model.generate(prompt.input_ids, max_new_tokens)
    # The last generated token was never fed to the model, so its position has no table row.
    positions = max(len(prompt.input_ids), len(generated) - 1)
    tables = model.rope_tables(len(prompt.input_ids), positions)
    return {
        "input_ids": np.array([prompt.input_ids], dtype=np.int64),
        **record(model, prompt.input_ids, taps),
        "generated_ids": np.array([generated], dtype=np.int64),
        **{name: table.float().numpy() for name, table in tables.items()},
    }


def extract(options: argparse.Namespace) -> None:
    prompts = collect_prompts(options.prompt, options.prompts)
    model = HfModel(options.model, Numerics(options.dtype))
    tokenizer_file = options.model / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(tokenizer_file)) if tokenizer_file.is_file() else None
    tokenize(prompts, model, tokenizer)
    taps = choose_taps(model, options.taps)

    options.out.mkdir(parents=True, exist_ok=True)
    # Without a manifest the directory is known to be unfinished.
    (options.out / "manifest.json").unlink(missing_ok=True)
    records: list[dict[str, Any]] = []
    for prompt in prompts:
        arrays = extract_prompt(model, prompt, taps, options.max_new_tokens)
        (options.out / prompt.id).mkdir(exist_ok=True)
        path = f"{prompt.id}/reference.npz"
        files.write_npz(options.out / path, arrays)
        continuation = arrays["generated_ids"][0, len(prompt.input_ids) :].tolist()
        stopped_by_eos = bool(continuation) and continuation[-1] in model.eos_token_ids
        tokens = None
        if tokenizer:
            tokens = [tokenizer.decode([i], skip_special_tokens=False) for i in prompt.input_ids]
        text = tokenizer.decode(continuation, skip_special_tokens=False) if tokenizer else None
        records.append(
            {
                "id": prompt.id,
                "text": prompt.text,
                "input_ids": prompt.input_ids,
                "tokens": tokens,
                "generated_text": text,
                "stopped": "eos" if stopped_by_eos else "length",
                "files": {"reference": path},
                "arrays": {name: files.describe_array(a) for name, a in arrays.items()},
            }
        )
        print(f"{options.out / path}: {len(arrays)} arrays, {text or continuation!r}")
    files.write_json(
        options.out / "manifest.json",
        {
            "schema": files.SCHEMA,
            "producer": files.describe_producer(),
            "numerics": options.dtype,
            "oracle": None,
            "model": files.describe_model(options.model),
            "generation": {
                "max_new_tokens": options.max_new_tokens,
                "eos_token_ids": model.eos_token_ids,
            },
            "prompts": records,
        },
    )


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        extract(options)
    except (UsageError, InputError) as error:
        print(f"extract_reference: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
