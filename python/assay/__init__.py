"""Assay: is a port of a language model right, and where does it first go wrong?

::

    import assay

    ref = assay.extract("Qwen3-0.6B", ["The capital of France is"], taps="*")
    result = assay.compare(ref, "dump/")
    assert result, result.first_divergence
    print(assay.diagnose(ref, "dump/").summary)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._check import Check, check
    from ._compare import compare, diagnose, draft_map, explain, known_mistakes, save
    from ._errors import AssayError, CheckFailed, InputError, MachineError, UsageError
    from ._golden import golden, update_golden
    from ._models import bundled_model, find_model
    from ._reference import Arrays, PromptReference, Reference, extract
    from ._results import Comparison, Diagnosis, Divergence, PromptResult, TensorResult
    from .record import record

    __version__: str

# Where each name lies. They are imported when they are used, so that the command starts at once.
_MODULES = {
    "_check": ["Check", "check"],
    "_compare": ["compare", "diagnose", "draft_map", "explain", "known_mistakes", "save"],
    "_errors": ["AssayError", "CheckFailed", "InputError", "MachineError", "UsageError"],
    "_golden": ["golden", "update_golden"],
    "_models": ["bundled_model", "find_model"],
    "_reference": ["Arrays", "PromptReference", "Reference", "extract"],
    "_results": ["Comparison", "Diagnosis", "Divergence", "PromptResult", "TensorResult"],
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Arrays", "AssayError", "Check", "CheckFailed", "Comparison", "Diagnosis", "Divergence", "InputError",
    "MachineError", "PromptReference", "PromptResult", "Reference", "TensorResult", "UsageError",
    "bundled_model", "check", "compare", "diagnose", "draft_map", "explain", "extract", "find_model",
    "golden", "known_mistakes", "record", "save", "update_golden", "__version__",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from ._core import version

        return version
    if name == "record":  # a package that can be called
        return importlib.import_module(".record", __name__)
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'assay' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
