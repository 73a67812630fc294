"""The tables of figures at the end of the tests' output."""

import platform

import numpy as np
import torch
import transformers

from family_config import Configuration
from parity import PromptFigures, TapFigures, geometric_mean


def header() -> str:
    capability = torch.backends.cpu.get_cpu_capability()
    return (
        f"transformers {transformers.__version__}, torch {torch.__version__}, {capability},"
        f" {torch.get_num_threads()} threads, Python {platform.python_version()}\n"
        "f32: assay f32 against transformers FP32, relative L2 (limit 1e-5) and 1 - cosine"
        " (limit 1e-5), worst tap of four prompts\n"
        "f64: assay f64 against transformers in double (limit 1e-12), worst tap of four prompts\n"
        "bf16: error against the f64 oracle on the 200-token prompt, assay's over transformers':"
        " geometric mean (limit 1.02) and worst tap (limit 1.25);\n"
        "      bits: share of elements with the very bits of transformers BF16"
    )


def _row(name: str, taps: list[TapFigures], long: list[TapFigures]) -> list[str]:
    worst = max(long, key=lambda t: t.ratio)
    return [
        name,
        f"{max(t.f32 for t in taps):.1e}",
        f"{max(1 - t.f32_cosine for t in taps):.1e}",
        f"{max(t.f64 for t in taps):.1e}",
        f"{geometric_mean([t.bf16_ours for t in long if t.bf16_ours > 0] or [0.0]):.2e}",
        f"{geometric_mean([t.ratio for t in long]):.4f}",
        f"{worst.ratio:.4f}",
        worst.tap.removeprefix(f"layer_{worst.layer}_"),
        f"{100 * np.mean([t.bf16_same for t in long]):.1f} %",
    ]


_COLUMNS = ["", "f32 rel", "1-cos", "f64 rel", "bf16 err", "ratio", "worst", "at", "bits"]


def layer_table(prompts: list[PromptFigures]) -> str:
    """A row for the embedding, every layer, the final norm and the logits."""
    taps = [tap for prompt in prompts for tap in prompt.taps]
    long = next(prompt for prompt in prompts if prompt.prompt == "long").taps
    rows = []
    for layer in dict.fromkeys(tap.layer for tap in taps):
        name = f"layer {layer}" if layer.isdigit() else layer
        rows.append(
            _row(name, [t for t in taps if t.layer == layer], [t for t in long if t.layer == layer])
        )
    return _aligned([_COLUMNS, *rows, _row("all", taps, long)])


def case_table(cases: dict[str, list[PromptFigures]]) -> str:
    """A row per checkpoint."""
    rows = []
    for case, prompts in cases.items():
        long = next(prompt for prompt in prompts if prompt.prompt == "long").taps
        same = [sum(a == b for a, b in (p.generated[n] for p in prompts)) for n in ("bf16", "f32")]
        row = _row(case, [tap for prompt in prompts for tap in prompt.taps], long)
        rows.append([*row, *(f"{s} of {len(prompts)}" for s in same)])
    columns = [*_COLUMNS, "tokens bf16", "tokens f32"]
    columns[0] = "checkpoint"
    return _aligned([columns, *rows])


def family_table(families: dict[str, tuple[Configuration, list[PromptFigures]]]) -> str:
    """A row per configuration."""
    rows = []
    for name, (made, prompts) in families.items():
        long = next(prompt for prompt in prompts if prompt.prompt == "long").taps
        config = {"num_attention_heads": 8, "num_key_value_heads": 4, **made.text}  # Gemma 3's own
        rows.append(
            [
                *_row(name, [tap for prompt in prompts for tap in prompt.taps], long),
                f"{100 * min(t.steady for t in long):.0f} %",
                "{num_hidden_layers} x {hidden_size}".format(**config),
                "{num_attention_heads}/{num_key_value_heads}".format(**config),
                made.what,
            ]
        )
    return _aligned([[*_COLUMNS, "steady", "layers", "heads", "with"], *rows])


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0])
        lines.append("  ".join(cells))
    return "\n".join(lines)
