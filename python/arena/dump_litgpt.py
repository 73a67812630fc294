"""litgpt. Argument: the model in litgpt's own list that the checkpoint is a small copy of."""

import contextlib
import sys
import tempfile
from pathlib import Path

import torch
from dumping import WORDS, config, run_torch, weights
from litgpt.config import Config, name_to_config
from litgpt.model import GPT
from litgpt.scripts.convert_hf_checkpoint import convert_hf_checkpoint

SIZES = {
    "n_layer": "num_hidden_layers",
    "n_embd": "hidden_size",
    "n_head": "num_attention_heads",
    "n_query_groups": "num_key_value_heads",
    "head_size": "head_dim",
    "intermediate_size": "intermediate_size",
    "padded_vocab_size": "vocab_size",
    "rope_base": "rope_theta",
    "norm_eps": "rms_norm_eps",
}
FEATURES = {  # set only where litgpt knows of them
    "moe_intermediate_size": "moe_intermediate_size",
    "sliding_window_size": "sliding_window",
    "attention_scores_scalar": "query_pre_attn_scalar",
    "n_expert": "num_experts",
    "n_expert_per_token": "num_experts_per_tok",
}

name, small = WORDS[0], config()
known = name_to_config[name]
for field, theirs in (SIZES | {f: t for f, t in FEATURES.items() if f in known}).items():
    if theirs in small:
        known[field] = small[theirs]
known["block_size"] = 256

with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
    torch.save(weights(), Path(folder) / "pytorch_model.bin")  # old releases read this format too
    convert_hf_checkpoint(Path(folder), model_name=name)
    state = torch.load(Path(folder) / "lit_model.pth", weights_only=False)
model = GPT(Config.from_name(name))
if "lm_head.weight" not in state:  # tied
    state["lm_head.weight"] = state["transformer.wte.weight"]
model.load_state_dict({n: w.float() for n, w in state.items()})
run_torch(model, model)
