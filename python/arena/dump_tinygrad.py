"""tinygrad's language models. MODEL is a .gguf file. It compiles with clang, of whatever release."""

import os
import shutil

# Before the import, which reads them. HALF=0: the weights keep their type.
CLANGS = ["clang", *(f"clang-{release}" for release in range(30, 13, -1))]
os.environ.setdefault("CC", next(filter(shutil.which, CLANGS), "clang"))
os.environ.setdefault("HALF", "0")
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
