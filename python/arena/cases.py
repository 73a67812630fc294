"""What the arena runs: engine, checkpoint, and what is right to say of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    environment: str  # of environments.py; the engine and its release
    script: str
    model: str  # models/MODEL.json, or a name of run.py's
    words: tuple[str, ...] = ()  # to the script
    wrong: tuple[str, ...] = ()  # nothing: the engine is right; else diagnose names one of these ids
    what: str = ""  # is wrong with it, or peculiar to it
    gguf: str = ""  # the tensor type of the .gguf file that this engine reads
    precision: str = ""  # that its activations have: compare's --as
    small: bool = True  # its dump is among those of the tests

    @property
    def name(self) -> str:
        parts = [self.environment.replace(" ", "-"), self.model, *self.gguf.lower().split()]
        return "-".join(parts + [word for word in self.words if word == "sdpa"])


LLAMA_CPP, LITGPT, TORCHTUNE = "llama.cpp b11549", "litgpt 0.5.13", "torchtune 0.6.1"
MLX = "mlx-lm 0.32.2"
HF = "transformers 5.23.0"


def llama_cpp(model: str, gguf: str = "F32", **more) -> Case:
    return Case(LLAMA_CPP, "llama_cpp", model, ("4",), gguf=gguf, **more)


def litgpt(model: str, name: str, **more) -> Case:
    return Case(LITGPT, "litgpt", model, (name,), **more)


CASES = [
    Case(HF, "transformers", "qwen3", ("eager", "float32")),
    Case(HF, "transformers", "gemma3", ("eager", "float32")),
    Case(HF, "transformers", "gemma2", ("eager", "float32"), what="hooks: lm_head is before the cap"),
    llama_cpp("tiny-qwen3", small=False),
    llama_cpp("llama", what="q and k as neighbouring pairs"),
    llama_cpp("qwen3"),
    llama_cpp("qwen3_moe"),
    llama_cpp("gemma2"),
    llama_cpp("gemma3"),
    llama_cpp("phi3"),
    llama_cpp("qwen3", "Q8_0", precision="q8", what="activations in 8 bits per 32"),
    Case(LLAMA_CPP, "llama_cpp", "SmolLM2-135M", ("20",), precision="q8", small=False,
         what="real weights in Q4_1; activations in 8 bits per 32; text and logits"),
    litgpt("llama", "Llama-2-7b-hf"),
    litgpt("llama3", "Llama-3.2-1B"),
    litgpt("qwen3", "Qwen3-0.6B"),
    litgpt("qwen3_moe", "Qwen3-30B-A3B"),
    litgpt("olmo2", "OLMo-2-1124-7B"),
    litgpt("mistral", "Mistral-7B-v0.1"),
    litgpt("gemma2", "Gemma-2-2b", what="the lookup is before its scale"),
    Case(TORCHTUNE, "torchtune", "llama", ("llama2",), what="q and k as neighbouring pairs"),
    Case(TORCHTUNE, "torchtune", "qwen2", ("qwen2",)),
    Case(MLX, "mlx_lm", "llama"),
    Case(MLX, "mlx_lm", "qwen3_moe"),
    Case(MLX, "mlx_lm", "gemma2"),
    Case(MLX, "mlx_lm", "gemma3"),
    # Wrong ones.
    Case(HF, "transformers", "gemma2", ("sdpa", "float32"), wrong=("softcap",),
         what="sdpa leaves out the scores' soft-cap"),
    Case(TORCHTUNE, "torchtune", "gemma2", ("gemma2",), wrong=("norm",),
         what="the converter exchanges the norms before and behind the MLP"),
    Case(MLX, "mlx_lm", "qwen2_window", wrong=("window",), what="the sliding window is left out"),
    Case(MLX, "mlx_lm", "mistral", wrong=("window",), what="the sliding window is left out"),
]  # fmt: skip
