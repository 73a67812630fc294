#!/usr/bin/env python3
"""Writes a dump as TensorRT Edge-LLM's runtime does, for the C++ tests.

    python python/make_edgellm_golden.py          # into tests/formats/data/edgellm

Edge-LLM needs a GPU. So the bundled model runs in transformers (FP16, as Edge-LLM's engines do), and
the file is written as Edge-LLM documents it (the LayerDebugger class in its C++ reference):
EDGELLM_DUMP_LOGITS_KVCACHE_LAYERS=2, three rounds, whose caches are longer than the sequence. What
is beyond its end was never written, so there may be anything.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "tests" / "formats" / "data" / "edgellm"
LAYERS, ROUNDS, LONGEST = 2, 3, 12


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    folder = ROOT / "models" / "tiny-qwen3"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float16).eval()
    ids = AutoTokenizer.from_pretrained(folder).encode("The capital of France is")
    torch.manual_seed(0)
    tensors: dict[str, torch.Tensor] = {}
    feed, cache, length = torch.tensor([ids]), None, 0
    for r in range(ROUNDS):
        with torch.no_grad():
            out = model(feed, past_key_values=cache, use_cache=True)
        cache, length = out.past_key_values, length + feed.shape[1]
        logits = out.logits[:, -1].float()
        tensors[f"round_{r}.logits"] = logits
        for i in range(LAYERS):
            keys, values = cache.layers[i].keys, cache.layers[i].values
            whole = torch.randn(1, 2, keys.shape[1], LONGEST, keys.shape[-1]).half()
            whole[:, 0, :, :length], whole[:, 1, :, :length] = keys, values
            tensors[f"round_{r}.layer_{i}.kv"] = whole
        tensors[f"round_{r}.context_lengths"] = torch.tensor([length], dtype=torch.int32)
        token = logits.argmax(-1)
        tensors[f"round_{r}.generated_token_ids"] = token.int()
        feed = token[:, None]
    path = OUT / "edgellm_dump.safetensors"
    save_file(tensors, path, {"format": "PT", "provider": "tensorrt-edge-llm", "version": "1.0"})
    path.chmod(0o644)


if __name__ == "__main__":
    main()
