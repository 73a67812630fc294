"""TransformerLens. Argument: the model in its own list that the checkpoint is a small copy of."""

import torch
from dumping import MODEL, WORDS, config, prompts, save
from transformer_lens import HookedTransformer
from transformer_lens.loading_from_pretrained import get_pretrained_model_config
from transformer_lens.pretrained.weight_conversions import convert_llama_weights
from transformers import AutoModelForCausalLM

small = config()
cfg = get_pretrained_model_config(WORDS[0], hf_cfg={}, dtype=torch.float32, device="cpu")
for field, theirs in {
    "n_layers": "num_hidden_layers",
    "d_model": "hidden_size",
    "n_heads": "num_attention_heads",
    "n_key_value_heads": "num_key_value_heads",
    "d_head": "head_dim",
    "rotary_dim": "head_dim",
    "d_mlp": "intermediate_size",
    "d_vocab": "vocab_size",
    "d_vocab_out": "vocab_size",
}.items():
    setattr(cfg, field, small[theirs])
cfg.attn_scale = cfg.d_head**0.5
cfg.tokenizer_name = None
model = HookedTransformer(cfg)
theirs = AutoModelForCausalLM.from_pretrained(MODEL, torch_dtype=torch.float32)
model.load_state_dict(convert_llama_weights(theirs, cfg), strict=False)
for prompt, ids in prompts():
    with torch.no_grad():
        logits, cache = model.run_with_cache(torch.tensor([ids]))
    arrays = {name: value.numpy() for name, value in cache.items()}
    save(prompt, ids, {**arrays, "logits": logits.numpy()})
