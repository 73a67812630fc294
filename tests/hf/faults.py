"""Porting mistakes, made in transformers' Qwen3: what `assay diagnose` must name.

Each fault changes a fresh copy of the model. From Assay's catalog only the names are known here.
"""

import random

import faults_weights  # noqa: F401, I001 - each adds its own, in this order
import faults_norms  # noqa: F401
import faults_attention  # noqa: F401
import faults_mlp  # noqa: F401
import faults_decode  # noqa: F401
from fault_base import FAULTS, Fault


def place_of(fault: Fault) -> str:
    """What it changes: two faults in the same place cannot be combined."""
    places = {
        "embed": "embedding",
        "tie-wrong": "head",
        "logits": "head",
        "final-softcap": "head",
        "final-norm": "norms",
        "qk-norm-after-rope": "attention",
        "v-norm-too": "attention",
        "rope-on-v": "attention",
        "rope-theta": "frequencies",
        "rope-exponent": "frequencies",
        "rope-table-lowp": "frequencies",
        "rope-scaling": "frequencies",
        "pos-offset": "frequencies",
        "rope": "rotation",
        "attn-": "attend",
        "gqa": "attend",
        "heads": "attend",
        "mask": "attend",
        "sliding": "attend",
        "softmax": "attend",
        "kv-quant": "attend",
        "act-": "mlp",
        "gate-up-swap": "mlp",
        "residual": "block",
        "parallel": "block",
        "norm-place": "block",
        "layer-": "layers",
        "qk-norm": "head norms",
        "norm": "norms",
        "eps": "norms",
        "layernorm": "norms",
    }
    for start, place in places.items():
        if fault.entry.startswith(start):
            return place
    return "weights"


def random_pairs(count: int, seed: int, untied: bool, bf16: bool) -> list[tuple[Fault, Fault]]:
    """Pairs of faults that show in a whole prompt, in different places."""

    usable = [
        f
        for f in FAULTS
        if not f.decode and (f.bf16 if bf16 else f.f32) and (untied or not f.untied)
    ]
    rng = random.Random(seed)
    pairs: list[tuple[Fault, Fault]] = []
    while len(pairs) < count:
        a, b = rng.sample(usable, 2)
        if place_of(a) != place_of(b) and a.entry != b.entry:
            pairs.append((a, b))
    return pairs
