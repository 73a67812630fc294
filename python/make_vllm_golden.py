#!/usr/bin/env python3
"""Writes the hidden-state file that the C++ tests read, with vLLM's own code.

    pip download --no-deps vllm==0.33.0           # the wheel, 336 MB; it is not installed
    python python/make_vllm_golden.py vllm-0.33.0-*.whl      # into tests/formats/data/vllm

vLLM itself needs a GPU or a build of its own, so the bundled model runs in transformers (BF16), and
from the wheel come the functions that handle its hidden states on the way to the file: which states
a model hands over (EagleModelMixin._maybe_add_hidden_state), how they go into the cache
(basic_cache) and out of it (extract_from_kv_cache), and the file
(ExampleHiddenStatesConnector._write_tensors).
"""

import ast
import sys
import types
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "tests" / "formats" / "data" / "vllm"
BLOCK = 16  # tokens in a block of the cache
MODELS = "vllm/model_executor/models"
CONNECTOR = "vllm/distributed/kv_transfer/kv_connector/v1/example_hidden_states_connector.py"


def functions(wheel: zipfile.ZipFile, path: str, *names: str) -> list:
    """Functions of a file, compiled alone: the file's imports need all of vLLM."""
    tree = ast.parse(wheel.read(path))
    found = {n.name: n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    space = {"torch": torch, "save_file": save_file, "__name__": path}
    header = ast.parse("from __future__ import annotations").body
    for name in names:
        found[name].decorator_list = []
        exec(compile(ast.Module([*header, found[name]], []), path, "exec"), space)
    return [space[name] for name in names]


def states(model: torch.nn.Module, ids: list[int], layers: list[int], hand_over) -> torch.Tensor:
    """[tokens, layers, hidden]: the states after so many layers, as vLLM's models collect them."""
    mixin = types.SimpleNamespace(aux_hidden_state_layers=tuple(layers))
    collected: list[torch.Tensor] = []
    count = len(model.model.layers)
    with torch.no_grad():
        hidden = {}
        for i, layer in enumerate(model.model.layers):
            layer.register_forward_pre_hook(
                lambda _m, inputs, i=i: hidden.__setitem__(i, inputs[0][0])
            )
            layer.register_forward_hook(
                lambda _m, _inputs, output, i=i: hidden.__setitem__(i + 1, output[0])
            )
        model(torch.tensor([ids]), use_cache=False)
    for i in range(count + 1):
        hand_over(mixin, collected, i, hidden[i], None)
    return torch.stack(collected, dim=1)


def main() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    wheel = zipfile.ZipFile(sys.argv[1])
    (hand_over,) = functions(wheel, f"{MODELS}/interfaces.py", "_maybe_add_hidden_state")
    (into_cache,) = functions(wheel, f"{MODELS}/extract_hidden_states.py", "basic_cache")
    out_of_cache, write = functions(wheel, CONNECTOR, "extract_from_kv_cache", "_write_tensors")

    model = AutoModelForCausalLM.from_pretrained(
        ROOT / "models" / "tiny-qwen3", dtype=torch.bfloat16, attn_implementation="eager"
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "models" / "tiny-qwen3")
    ids = tokenizer.encode("The capital of France is")
    count = len(model.model.layers)
    done = types.SimpleNamespace(synchronize=lambda: None)
    for name, layers in {
        "all": list(range(count + 1)),
        "some": [2, count // 2, count - 3, count],
    }.items():
        stacked = states(model, ids, layers, hand_over)
        cache = torch.zeros(4, len(layers), BLOCK, stacked.shape[-1], dtype=stacked.dtype)
        slots = 2 * BLOCK + torch.arange(BLOCK)  # the request's only block is the third
        into_cache(stacked, cache, slots[: len(ids)])
        tensors = {
            "hidden_states": out_of_cache(cache, slots, len(ids)),
            "token_ids": torch.tensor(ids),
        }
        path = OUT / f"{name}.safetensors"
        write(tensors, done, str(path), None)
        path.chmod(0o644)


if __name__ == "__main__":
    main()
