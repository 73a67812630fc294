"""transformers, any release. Arguments: the attention (eager, sdpa) and the type (float32, bfloat16)."""

import torch
from dumping import MODEL, WORDS, run_torch
from transformers import AutoModelForCausalLM

attention, dtype = WORDS
model = AutoModelForCausalLM.from_pretrained(
    MODEL, torch_dtype=getattr(torch, dtype), attn_implementation=attention
)
run_torch(model, lambda ids: model(ids, use_cache=False).logits)
