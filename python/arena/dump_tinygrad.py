"""tinygrad's language models. MODEL is a .gguf file. It compiles with clang, of whatever release."""

import os
import shutil

# Before the import, which reads them. HALF=0: the weights keep their type.
CLANGS = ["clang", *(f"clang-{release}" for release in range(30, 13, -1))]
os.environ.setdefault("CC", next(filter(shutil.which, CLANGS), "clang"))
os.environ.setdefault("HALF", "0")
from dumping import MODEL, run
from tinygrad import Tensor
from tinygrad.llm.model import Transformer

model = Transformer.from_gguf(Tensor(MODEL), max_context=256)[0]


def logits(ids: list[int]) -> Tensor:
    """Of all positions: the model's own call has the last one's only."""
    x = model.token_embd(Tensor([ids])).float()
    for block in model.blk:
        x = block(x, 0)
    return model.output(model.output_norm(x))


run(model, logits)
