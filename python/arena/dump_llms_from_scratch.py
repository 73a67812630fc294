"""The models of the book Build a Large Language Model (From Scratch). Argument: qwen3 or llama3."""

import torch
from dumping import WORDS, config, run_torch, weights

small = config()
sizes = {
    "vocab_size": small["vocab_size"],
    "context_length": 256,
    "emb_dim": small["hidden_size"],
    "n_heads": small["num_attention_heads"],
    "n_layers": small["num_hidden_layers"],
    "hidden_dim": small["intermediate_size"],
    "head_dim": small["head_dim"],
    "qk_norm": True,
    "n_kv_groups": small["num_key_value_heads"],
    "rope_base": small["rope_theta"],
    "dtype": torch.float32,
}
if WORDS[0] == "qwen3":
    from llms_from_scratch.qwen3 import Qwen3Model, load_weights_into_qwen

    model = Qwen3Model(sizes)
    load_weights_into_qwen(model, sizes, weights())
else:
    from llms_from_scratch.llama3 import Llama3Model, load_weights_into_llama

    scaling = small["rope_scaling"]
    sizes["rope_freq"] = {
        "factor": scaling["factor"],
        "low_freq_factor": scaling["low_freq_factor"],
        "high_freq_factor": scaling["high_freq_factor"],
        "original_context_length": scaling["original_max_position_embeddings"],
    }
    model = Llama3Model(sizes)
    load_weights_into_llama(model, sizes, weights())
run_torch(model, model)
