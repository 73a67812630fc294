"""tinygrad's language models. MODEL is a .gguf file; HALF=0 in the environment keeps the weights."""

import os

os.environ.setdefault("HALF", "0")  # before the import, which reads it
import numpy as np
from dumping import MODEL, Arrays, prompts, save
from tinygrad import Tensor
from tinygrad.llm.model import Transformer

model = Transformer.from_gguf(Tensor(MODEL), max_context=256)[0]
for prompt, ids in prompts():
    arrays: Arrays = {}
    x = model.token_embd(Tensor([ids])).float()
    arrays["token_embd"] = x.numpy()
    for index, block in enumerate(model.blk):
        x = block(x, 0)
        arrays[f"blk.{index}"] = x.numpy()
    arrays["output_norm"] = model.output_norm(x).numpy()
    logits = model.output(model.output_norm(x)).numpy()
    save(prompt, ids, {**arrays, "logits": np.array(logits)})
