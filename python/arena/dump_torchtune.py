"""torchtune. Argument: the architecture's builder."""

import inspect
from importlib import import_module
from importlib.util import find_spec

from dumping import WORDS, config, run_torch, weights
from torchtune.models.convert_weights import hf_to_tune

name, small = WORDS[0], config()
build = getattr(import_module(f"torchtune.models.{name}._component_builders"), name)
fields = {
    "vocab_size": small["vocab_size"],
    "num_layers": small["num_hidden_layers"],
    "num_heads": small["num_attention_heads"],
    "num_kv_heads": small["num_key_value_heads"],
    "head_dim": small.get("head_dim"),
    "embed_dim": small["hidden_size"],
    "intermediate_dim": small["intermediate_size"],
    "max_seq_len": 256,
    "norm_eps": small["rms_norm_eps"],
    "rope_base": small["rope_theta"],
    "scale_factor": (small.get("rope_scaling") or {}).get("factor"),
    "sliding_window_size": small.get("sliding_window"),
    "query_pre_attn_scalar": small.get("query_pre_attn_scalar"),
    "tie_word_embeddings": small["tie_word_embeddings"],
}
model = build(**{f: v for f, v in fields.items() if f in inspect.signature(build).parameters})

convert = hf_to_tune  # the families that have none of their own
if find_spec(f"torchtune.models.{name}._convert_weights"):
    convert = getattr(
        import_module(f"torchtune.models.{name}._convert_weights"), f"{name}_hf_to_tune"
    )
sizes = {
    "num_heads": fields["num_heads"],
    "num_kv_heads": fields["num_kv_heads"],
    "dim": fields["embed_dim"],
    "head_dim": fields["head_dim"],
    "tie_word_embeddings": fields["tie_word_embeddings"],
}
wanted = inspect.signature(convert).parameters
state = convert(weights(), **{f: v for f, v in sizes.items() if f in wanted})
model.load_state_dict(state)
run_torch(model, model)
