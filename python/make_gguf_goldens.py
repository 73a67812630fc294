"""Makes tests/formats/data/gguf_*: files that the gguf package writes, and what it reads in them.

    .venv/bin/python python/make_gguf_goldens.py
"""

from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

from assay_hf.gguf_file import SCALES, random_blocks

DATA = Path(__file__).resolve().parents[1] / "tests" / "formats" / "data"
SHAPE = (2, 256)


def finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make_types() -> None:
    """A tensor of every type, and its elements in FP32."""
    rng = np.random.default_rng(20)
    writer = gguf.GGUFWriter(DATA / "gguf_types.gguf", "qwen3")
    expected = {}
    plain = rng.normal(0, 0.05, SHAPE).astype(np.float32)
    for kind in (Type.F32, Type.F16, Type.BF16, *SCALES):
        if kind in SCALES:
            data = random_blocks(kind, SHAPE, rng)
        else:
            data = gguf.quants.quantize(plain, kind)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        expected[kind.name] = gguf.quants.dequantize(data, kind)
    finish(writer)
    np.savez(DATA / "gguf_types.npz", **expected)


def make_metadata() -> None:
    """A value of every type, an odd alignment, and lists."""
    writer = gguf.GGUFWriter(DATA / "gguf_metadata.gguf", "llama")
    writer.add_custom_alignment(64)
    for name in ("uint8", "uint16", "uint32", "uint64"):
        getattr(writer, f"add_{name}")(name, 200)
    for name in ("int8", "int16", "int32", "int64"):
        getattr(writer, f"add_{name}")(name, -100)
    writer.add_float32("float32", 1e-6)
    writer.add_float64("float64", 1e-6)
    writer.add_bool("bool", True)
    writer.add_string("string", "größe")
    writer.add_array("strings", ["a", "", "größe"])
    writer.add_array("integers", [1, -2, 3])
    writer.add_array("floats", [0.5, 0.1])
    writer.add_array("bools", [True, False])
    writer.add_tensor("a", np.arange(3, dtype=np.float32))
    writer.add_tensor("b", np.arange(6, dtype=np.float32).reshape(2, 3))
    finish(writer)


if __name__ == "__main__":
    make_types()
    make_metadata()
