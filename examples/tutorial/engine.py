"""Qwen3 in forty lines of numpy, with one mistake. docs/tutorial.md finds it."""

import json

import assay
import numpy as np

model = assay.bundled_model()
config = json.loads((model / "config.json").read_text())
stored = assay.Arrays(model / "model.safetensors")
weights = {name: np.asarray(stored[name], np.float32) for name in stored}
heads, kv_heads, width = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]


def norm(x, weight):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + config["rms_norm_eps"]) * weight


def rope(x):  # x: [tokens, heads, width]
    half = width // 2
    angle = np.outer(np.arange(len(x)), config["rope_theta"] ** (-np.arange(half) / half))[:, None]
    cos, sin = np.cos(angle), np.sin(angle)
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def forward(ids, tap=lambda name, x: x):  # tap sees every tensor of the model
    x = tap("embedding_output", weights["model.embed_tokens.weight"][ids])
    for i in range(config["num_hidden_layers"]):
        w = lambda name: weights[f"model.layers.{i}.{name}.weight"]
        t = lambda name, y: tap(f"layer_{i:02}_{name}", y)
        y = t("input_norm", norm(x, w("input_layernorm")))
        q = t("q_proj", (y @ w("self_attn.q_proj").T).reshape(-1, heads, width))
        k = t("k_proj", (y @ w("self_attn.k_proj").T).reshape(-1, kv_heads, width))
        v = t("v_proj", (y @ w("self_attn.v_proj").T).reshape(-1, kv_heads, width))
        q = t("q_rope", rope(t("q_norm", norm(q, w("self_attn.q_norm")))))
        k = t("k_rope", rope(t("k_norm", norm(k, w("self_attn.k_norm")))))
        k, v = (np.tile(z, (1, heads // kv_heads, 1)) for z in (k, v))  # one for each query head
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(width)
        scores = t("attn_scores", np.where(np.tri(len(ids), dtype=bool), scores, -np.inf))
        p = np.exp(scores - scores.max(-1, keepdims=True))
        p = t("attn_probs", p / p.sum(-1, keepdims=True))
        y = t("attn_context", np.einsum("hqk,khd->qhd", p, v).reshape(len(ids), -1))
        x = t("attn_residual", x + t("attn_output", y @ w("self_attn.o_proj").T))
        y = t("mlp_norm", norm(x, w("post_attention_layernorm")))
        gate, up = t("gate_proj", y @ w("mlp.gate_proj").T), t("up_proj", y @ w("mlp.up_proj").T)
        y = t("mlp_act", gate / (1 + np.exp(-gate)) * up)
        x = t("output", x + t("mlp_output", y @ w("mlp.down_proj").T))
    x = tap("final_norm_output", norm(x, weights["model.norm.weight"]))
    return tap("logits", x @ weights["model.embed_tokens.weight"].T)


if __name__ == "__main__":
    prompt = assay.Reference("reference_data")["prompt1"]
    ids = list(prompt.input_ids)
    while len(ids) < len(prompt.generated_ids):
        ids.append(int(forward(ids)[-1].argmax()))
    print(*ids, sep=",")

    dump = {"input_ids": np.array(prompt.input_ids), "generated_ids": np.array(ids)}
    forward(prompt.input_ids, lambda name, x: dump.setdefault(name, x))
    assay.save("dump.npz", dump)
