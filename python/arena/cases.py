"""What the arena runs: engine, checkpoint, and the right verdict."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    environment: str  # of environments.py; the engine and its release
    script: str
    model: str  # models/MODEL.json, or a name of run.py's
    words: tuple[str, ...] = ()  # arguments for the script
    wrong: tuple[str, ...] = ()  # its bugs, as parts of diagnose's ids; none: the engine is right
    what: str = ""  # description of its bug or peculiarity
    gguf: str = ""  # the tensor type of the .gguf file that this engine reads
    precision: str = ""  # the precision of its activations: compare's --as
    rounding: str = ""  # an id that diagnose may report, because it is true of the engine
    reference: str = ""  # "file": made from the .gguf file, if that differs from the checkpoint's
    small: bool = True  # whether its dump is among those of the tests

    @property
    def name(self) -> str:
        parts = [self.environment.replace(" ", "-"), self.model, *self.gguf.lower().split()]
        return "-".join(parts + [word for word in self.words if word == "sdpa"])


LLAMA_CPP, LITGPT, TORCHTUNE = "llama.cpp b11549", "litgpt 0.5.13", "torchtune 0.6.1"
MLX = "mlx-lm 0.32.2"
HF, HF_OLD = "transformers 5.23.0", "transformers 4.42.0"
KERAS, GENAI, CT2 = "keras-hub 0.32.0", "onnxruntime-genai 0.18.0", "CTranslate2 4.8.5"
LENS, LENS_OLD = "TransformerLens 2.16.1", "TransformerLens 2.15.0"
TINYGRAD, SCRATCH = "tinygrad 0.13.0", "llms-from-scratch 1.0.19"


def llama_cpp(model: str, gguf: str = "F32", **more) -> Case:
    return Case(LLAMA_CPP, "llama_cpp", model, ("20",), gguf=gguf, **more)


def litgpt(model: str, name: str, **more) -> Case:
    return Case(LITGPT, "litgpt", model, (name,), **more)


CASES = [
    Case(HF, "transformers", "qwen3", ("eager", "float32")),
    Case(HF, "transformers", "gemma3", ("eager", "float32"),
         what="hooks: two RoPE tables, the local first"),
    Case(HF, "transformers", "gemma2", ("eager", "float32"), what="hooks: lm_head is before the cap"),
    llama_cpp("tiny-qwen3", small=False),
    llama_cpp("llama", what="q and k as neighbouring pairs"),
    llama_cpp("qwen3"),
    llama_cpp("qwen3_moe"),
    llama_cpp("gemma2", reference="file", rounding="act", what="the activation from a table in F16"),
    llama_cpp("gemma3", reference="file", rounding="act", what="the activation from a table in F16"),
    llama_cpp("qwen3", "Q8_0", precision="q8", rounding="q8-activations",
              what="activations in 8 bits in blocks of 32"),
    Case(LLAMA_CPP, "llama_cpp", "SmolLM2-135M", ("20",), precision="q8", rounding="q8-activations",
         small=False, what="real weights in Q4_1; activations in 8 bits in blocks of 32; text and logits"),
    Case(LLAMA_CPP, "llama_cpp", "SmolLM2-135M", ("tokens",), small=False),
    litgpt("llama", "Llama-2-7b-hf"),
    litgpt("llama3", "Llama-3.2-1B"),
    litgpt("qwen3", "Qwen3-0.6B"),
    litgpt("qwen3_moe", "Qwen3-30B-A3B"),
    litgpt("olmo2", "OLMo-2-1124-7B"),
    litgpt("mistral", "Mistral-7B-v0.1"),
    litgpt("gemma2", "Gemma-2-2b", what="the lookup is before its scale"),
    litgpt("gemma3", "Gemma-3-4b-it", what="the lookup is before its scale"),
    litgpt("qwen2", "Qwen2.5-0.5B"),
    Case(TORCHTUNE, "torchtune", "llama", ("llama2",), what="q and k as neighbouring pairs"),
    Case(TORCHTUNE, "torchtune", "qwen2", ("qwen2",)),
    Case(MLX, "mlx_lm", "llama"),
    Case(MLX, "mlx_lm", "qwen3_moe"),
    Case(MLX, "mlx_lm", "gemma3"),
    Case(LENS, "transformer_lens", "llama3", ("meta-llama/Llama-3.2-1B",)),
    Case(GENAI, "onnxruntime_genai", "llama"),
    Case(GENAI, "onnxruntime_genai", "llama3"),
    Case(GENAI, "onnxruntime_genai", "qwen3"),
    Case(GENAI, "onnxruntime_genai", "gemma2", rounding="norm",
         what="1 + the norms' weight is rounded to BF16, as the checkpoint's type"),
    Case(CT2, "ctranslate2", "llama", what="logits alone"),
    Case(CT2, "ctranslate2", "qwen3", what="logits alone"),
    Case(KERAS, "keras_hub", "mistral", ("MistralBackbone",)),
    # For other models keras-hub supports no scale of the scores except 1/sqrt(head_dim) or hidden / heads.
    Case(KERAS, "keras_hub", "gemma2_2b", ("GemmaBackbone",)),
    Case(TINYGRAD, "tinygrad", "llama", gguf="F32"),
    Case(TINYGRAD, "tinygrad", "qwen3", gguf="F32"),
    Case(SCRATCH, "llms_from_scratch", "qwen3", ("qwen3",)),
    Case(SCRATCH, "llms_from_scratch", "llama3", ("llama3",)),
    # Engines with bugs.
    Case(TORCHTUNE, "torchtune", "gemma2", ("gemma2",), wrong=("norms-swapped", "final-softcap"),
         what="the norms before and after the MLP exchanged; the soft-cap on the final norm"),
    Case(HF_OLD, "transformers", "gemma2", ("eager", "float32"), wrong=("mask-missing", "window"),
         what="no mask in odd layers, no window in even ones"),
    # In gemma2 the scores are too small for the cap to matter.
    Case(HF_OLD, "transformers", "gemma2_cap", ("eager", "float32"),
         wrong=("mask-missing", "window", "softcap"),
         what="as above, and the scores have no soft-cap"),
    Case("litgpt 0.4.11", "litgpt", "llama3", ("Llama-3.1-8B",), wrong=("rope",),
         what="Llama 3's RoPE scaling is left out"),
    Case(LENS_OLD, "transformer_lens", "llama3", ("meta-llama/Llama-3.2-1B",), wrong=("rope",),
         what="RoPE scaling from a context of 2048 instead of 8192"),
    Case(KERAS, "keras_hub", "llama3", ("Llama3Backbone",), wrong=("eps",),
         what="the norms' epsilon is 1e-6 instead of 1e-5"),
    Case(KERAS, "keras_hub", "qwen3", ("Qwen3Backbone",), wrong=("eps",),
         what="the epsilon of the query and key norms is 1e-5 instead of 1e-6"),
    Case(KERAS, "keras_hub", "qwen2_window", ("QwenBackbone",), wrong=("window",),
         what="the sliding window is left out: the converter sets a wrong argument"),
    Case(GENAI, "onnxruntime_genai", "mistral", wrong=("window",),
         what="the sliding window is left out: local_window_size is -1"),
    Case(CT2, "ctranslate2", "llama3", wrong=("rope-scaling",),
         what="RoPE scaling is read and not applied; logits alone"),
    Case(CT2, "ctranslate2", "gemma2_2b", wrong=("window", "final-softcap"),
         what="no sliding window, no soft-cap on the logits; logits alone"),
    Case(CT2, "ctranslate2", "gemma2", wrong=("window", "final-softcap", "attn-scale"),
         what="and no query_pre_attn_scalar; logits alone"),
    Case(MLX, "mlx_lm", "gemma2", wrong=("window",), what="the sliding window is left out"),
    Case(MLX, "mlx_lm", "qwen2_window", wrong=("window",), what="the sliding window is left out"),
    Case(MLX, "mlx_lm", "mistral", wrong=("window",), what="the sliding window is left out"),
]  # fmt: skip
