"""Records what every module of a model returns, for ``assay compare``.

    import assay

    with assay.record(model, "dump/prompt1.npz") as dump:
        dump["logits"] = model(ids)

It needs numpy alone, and the library that the model is written in: torch, MLX, tinygrad or JAX, or
any other whose modules are Python objects that are called. :mod:`assay.record.llama_cpp` does the
same for llama.cpp.
"""

from .recording import Recording, record

__all__ = ["Recording", "record"]
