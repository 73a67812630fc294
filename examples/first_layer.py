"""The same port in Python with numpy.

    PYTHONPATH=python ASSAY_REFERENCE=reference_data \
        python examples/first_layer.py [--wrong] MODEL.safetensors ID...
"""

import json
import sys

import numpy as np

from assay_check import Checker, Verdict


def read_bf16(path):
    """name -> float32 array"""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        data = np.frombuffer(file.read(), np.uint16)
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = (offset // 2 for offset in entry["data_offsets"])
        bits = data[begin:end].astype(np.uint32) << 16
        tensors[name] = bits.view(np.float32).reshape(entry["shape"])
    return tensors


def main():
    wrong = "--wrong" in sys.argv
    path, *ids = [word for word in sys.argv[1:] if word != "--wrong"]
    ids = np.array(ids, np.int64)
    model = read_bf16(path)
    layer = "model.layers.0."
    checker = Checker.from_environment()
    checker.check("input_ids", ids)
    x = model["model.embed_tokens.weight"][ids]
    checker.check("embedding_output", x)
    scale = 1 / np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + 1e-6)
    normed = (x * scale).astype(np.float32) * model[layer + "input_layernorm.weight"]
    checker.check("layer_00_input_norm", normed)
    # The weight lies [out, in]. The mistake: half of the heads swapped.
    q = normed @ model[layer + "self_attn.q_proj.weight"].T
    if wrong:
        q = np.roll(q, q.shape[-1] // 2, -1)
    # By transformers' name, and column-major: the view is handed over as it lies.
    checker.check("model.layers.0.self_attn.q_proj", np.asfortranarray(q))
    return checker.close() == Verdict.FAIL


if __name__ == "__main__":
    sys.exit(main())
