"""Which checkpoint a name stands for."""

from __future__ import annotations

import os
from pathlib import Path

from ._errors import InputError, UsageError

_PACKAGE = Path(__file__).parent


def bundled_model() -> Path:
    """The directory of the small model that comes with Assay."""
    for models in (_PACKAGE / "share/assay/models", _PACKAGE.parents[1] / "models"):
        if (models / "tiny-qwen3/config.json").is_file():
            return models / "tiny-qwen3"
    raise InputError(f"{_PACKAGE}: the bundled model is missing; reinstall the package", str(_PACKAGE),
                     "no bundled model", "an installed package")  # fmt: skip


def find_model(model: str | os.PathLike[str] | None) -> Path:
    """The path of a checkpoint.

    Args:
        model: A checkpoint directory or GGUF file; the name of a model in Hugging Face's local cache, such as
            "Qwen/Qwen3-0.6B" or only "Qwen3-0.6B"; or None for the bundled model. Nothing is downloaded.

    Raises:
        InputError: There is no such file, directory or cached model, or several cached models have the name.
        UsageError: It is neither a path nor a name.
    """
    if model is None:
        return bundled_model()
    try:
        path = Path(os.fsdecode(model))
    except TypeError as error:
        found, expected = type(model).__name__, "a path or a name"
        raise UsageError(f"model: {found}; expected {expected}", "model", found, expected) from error
    if os.fspath(model) and "\0" not in str(path) and os.path.exists(path):
        return path
    from ._core import cached_model

    name = os.fsdecode(model)
    cached = cached_model(name)
    if cached is not None:
        return cached
    problem = "no such file, directory or cached model"
    expected = "a checkpoint directory, a .gguf file, or a model in Hugging Face's cache"
    raise InputError(f"{name}: {problem}; expected {expected}", name, problem, expected)
