"""Does an engine round where transformers rounds? Checked operation by operation: among elements whose
inputs equal transformers' bit for bit, hardly any may differ. A missing or misplaced rounding changes a
fifth of them, a different order of summation one in a thousand. The effects of earlier differences are
excluded."""

import numpy as np

Arrays = dict[str, np.ndarray]

# Tap -> what it is computed from, token by token; of alternatives the first that the layer has. A
# name that ends in "?" is optional. "in" is the residual stream that enters the layer.
_INPUTS = {
    "input_norm": ("in",),
    "q_proj": ("input_norm|in",),
    "k_proj": ("input_norm|in",),
    "v_proj": ("input_norm|in",),
    "q_norm": ("q_proj",),
    "k_norm": ("k_proj",),
    "v_norm": ("v_proj|k_proj",),
    "q_rope": ("q_norm|q_proj",),
    "k_rope": ("k_norm|k_proj",),
    "attn_probs": ("attn_scores",),
    "attn_gate": ("input_norm",),
    "attn_gated": ("attn_context", "attn_gate"),
    "attn_output": ("attn_gated|attn_context",),
    "gdn_qkv": ("input_norm",),
    "gdn_z": ("input_norm",),
    "gdn_b": ("input_norm",),
    "gdn_a": ("input_norm",),
    "gdn_beta": ("gdn_b",),
    "gdn_decay": ("gdn_a",),
    "gdn_norm": ("gdn_core", "gdn_z"),
    "gdn_output": ("gdn_norm",),
    "attn_post_norm": ("attn_output",),
    "attn_residual": ("in", "attn_post_norm|attn_output|gdn_output"),
    "mlp_norm": ("attn_residual",),
    "routed_norm": ("attn_residual",),
    "router_norm": ("attn_residual",),
    "router_input": ("router_norm",),
    "router_logits": ("router_input|mlp_norm",),
    "router_scores": ("router_logits",),
    "expert_ids": ("router_scores|router_logits",),
    "expert_weights": ("router_logits", "expert_ids"),
    "gate_proj": ("routed_norm|mlp_norm|attn_residual", "expert_ids?"),
    "up_proj": ("routed_norm|mlp_norm|attn_residual", "expert_ids?"),
    "mlp_act": ("gate_proj", "up_proj"),
    "routed_output": ("mlp_act", "expert_ids", "expert_weights"),
    "routed_post_norm": ("routed_output",),
    "shared_gate_proj": ("mlp_norm",),
    "shared_up_proj": ("mlp_norm",),
    "shared_mlp_act": ("shared_gate_proj", "shared_up_proj"),
    "shared_expert_output": ("shared_mlp_act",),
    "shared_expert_gate": ("mlp_norm",),
    "shared_post_norm": ("shared_expert_output",),
    "mlp_output": (
        "routed_post_norm|routed_output|mlp_act",
        "shared_post_norm|shared_expert_output|expert_ids?",
        "shared_expert_gate|expert_weights?",
    ),
    "mlp_post_norm": ("mlp_output",),
    "mlp_residual": ("attn_residual", "mlp_post_norm"),
    "ple_embedding": (),
    "ple_context": ("embedding",),
    "ple_norm": ("ple_context",),
    "ple_input": ("ple_embedding", "ple_norm"),
    "ple_gate": ("mlp_residual",),
    "ple_act": ("ple_gate", "ple_input"),
    "ple_output": ("ple_act",),
    "ple_post_norm": ("ple_output",),
    "ple_residual": ("mlp_residual", "ple_post_norm"),
    "output": ("ple_residual|mlp_residual|attn_residual", "mlp_post_norm|mlp_output"),
}

# What is computed from these taps of the token and all before it.
_OF_ALL_BEFORE = {
    "gdn_conv": ("gdn_qkv",),
    "gdn_core": ("gdn_conv", "gdn_beta", "gdn_decay"),
}


def own_bits(tap: str, ours: Arrays, theirs: Arrays) -> tuple[int, int]:
    """Among the tap's elements with equal inputs: the number that differ, and the total."""
    differ = _differ(ours[tap], theirs[tap])
    if not tap.startswith("layer_"):
        before = {
            "embedding_output": None,
            "final_norm_output": [n for n in theirs if n.endswith("_output")][-2],
            "logits": "final_norm_output",
        }[tap]
        if before is not None:
            differ = differ[:, _same_tokens(before, ours, theirs)]
        return int(differ.sum()), differ.size
    _, number, name = tap.split("_", 2)

    def full(of: str) -> str:
        return f"layer_{number}_{of}"

    if name == "attn_scores":
        # [1, N, query, key]
        differ = differ[:, :, _same_tokens(full("q_rope"), ours, theirs)]
        differ = differ[..., _same_tokens(_of_keys(number, ("k_rope",), theirs), ours, theirs)]
    elif name == "attn_context":
        # A head's component is a sum over all tokens' values.
        of = _of_keys(number, ("v_norm", "v_proj"), theirs)
        values = (ours[of] == theirs[of]).all(axis=1)[0]  # [N, D]
        group = differ.shape[-1] // values.size
        differ = differ[:, _same_tokens(full("attn_probs"), ours, theirs)]
        differ = differ[..., np.repeat(values, group, axis=0).ravel()]
    elif name in _OF_ALL_BEFORE:
        same = np.ones(differ.shape[1], dtype=bool)
        for of in _OF_ALL_BEFORE[name]:
            same &= np.logical_and.accumulate(_same_tokens(full(of), ours, theirs))
        differ = differ[:, same]
    else:
        same = np.ones(differ.shape[2 if name == "attn_probs" else 1], dtype=bool)
        for wanted in _INPUTS[name]:
            outside = {"in": _entering(number, theirs), "embedding": "embedding_output"}
            names = [outside.get(n) or full(n.rstrip("?")) for n in wanted.split("|")]
            present = [n for n in names if n in theirs]
            assert present or wanted.endswith("?"), f"{tap}: {wanted} is missing"
            if present:
                same &= _same_tokens(present[0], ours, theirs)
        differ = differ.compress(same, axis=2 if name == "attn_probs" else 1)
    return int(differ.sum()), differ.size


def _differ(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Values that transformers does not round, such as a router's in FP32, are equal up to the order of
    summation."""
    if theirs.dtype != np.float32 or not (theirs.view(np.uint32) & 0xFFFF).any():
        return ours != theirs
    return np.abs(ours - theirs) > 4e-6 * np.abs(theirs).max(axis=-1, keepdims=True)


def _entering(number: str, arrays: Arrays) -> str:
    layer = int(number)
    return f"layer_{layer - 1:0{len(number)}d}_output" if layer else "embedding_output"


def _of_keys(number: str, taps: tuple[str, ...], arrays: Arrays) -> str:
    """The layer's own tap, or that of the last earlier layer with heads of this size that has one."""
    size = arrays[f"layer_{number}_q_rope"].shape[-1]
    for layer in range(int(number), -1, -1):
        for tap in taps:
            name = f"layer_{layer:0{len(number)}d}_{tap}"
            if name in arrays and arrays[name].shape[-1] == size:
                return name
    raise AssertionError(f"layer {number}: none of {taps}")


def _same_tokens(tap: str, ours: Arrays, theirs: Arrays) -> np.ndarray:
    """The tokens for which all elements are equal."""
    same = ~_differ(ours[tap], theirs[tap])
    axis = 2 if tap.endswith(("attn_scores", "attn_probs")) else 1
    return same.all(axis=tuple(i for i in range(same.ndim) if i != axis))
