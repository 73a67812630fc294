"""Records what every module of a model returns, for ``assay compare``.

    import assay

    with assay.record(model, "dump/prompt1.npz"):
        model(ids)

It needs numpy alone, and the library that the model is written in: torch, MLX, tinygrad or JAX, or
any other whose modules are Python objects that are called. :mod:`assay.record.llama_cpp` does the
same for llama.cpp.
"""

import os
import sys
import types
from typing import Any

from .recording import Recording, record

__all__ = ["Recording", "record"]


class _CallableModule(types.ModuleType):
    """So that ``assay.record(model)`` works whether or not this package was imported by name."""

    def __call__(
        self, model: Any, path: str | os.PathLike[str] | None = None, *, only: str | None = None
    ) -> Recording:
        return record(model, path, only=only)


sys.modules[__name__].__class__ = _CallableModule
