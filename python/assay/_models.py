"""Which checkpoint a name stands for."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ._errors import InputError

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
    """
    if model is None:
        return bundled_model()
    path = Path(model)
    if path.exists():
        return path
    name = os.fspath(model)
    found = _cached(name) if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) else []
    if len(found) == 1:
        return found[0]
    problem = "no such file, directory or cached model"
    if found:
        problem = f"{len(found)} cached models have this name: {', '.join(map(str, found))}"
    expected = "a checkpoint directory, a .gguf file, or a model in Hugging Face's cache"
    raise InputError(f"{name}: {problem}; expected {expected}", name, problem, expected)


def _cached(name: str) -> list[Path]:
    home = os.environ.get("HF_HOME", os.path.expanduser("~/.cache/huggingface"))
    hub = Path(os.environ.get("HF_HUB_CACHE", os.path.join(home, "hub")))
    pattern = "models--" + ("*--" + name if "/" not in name else name.replace("/", "--"))
    found = []
    for repository in sorted(hub.glob(pattern)):
        head = repository / "refs/main"
        if head.is_file():
            snapshot = repository / "snapshots" / head.read_text().strip()
            if (snapshot / "config.json").exists():
                found.append(snapshot)
    return found
