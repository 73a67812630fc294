"""A checkpoint as a GGUF file: python to_gguf.py MODEL FILE TYPE, with transformers 5."""

import json
import sys
from pathlib import Path

import torch
from gguf import GGMLQuantizationType
from transformers import AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).parent.parent))
from assay_hf.gguf_file import write_gguf

folder, file, kind = Path(sys.argv[1]), Path(sys.argv[2]), GGMLQuantizationType[sys.argv[3]]
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
tokenizer = json.loads((folder / "tokenizer.json").read_text())
# A vocabulary smaller than the tokenizer's has its first tokens.
vocabulary = {t: i for t, i in tokenizer["model"]["vocab"].items() if i < model.config.vocab_size}
merges = [m if isinstance(m, list) else m.split(" ") for m in tokenizer["model"]["merges"]]
tokenizer["model"]["vocab"] = vocabulary
tokenizer["model"]["merges"] = [m for m in merges if "".join(m) in vocabulary]
tokenizer["added_tokens"] = [
    t for t in tokenizer["added_tokens"] if t["id"] < model.config.vocab_size
]
write_gguf(file, model.config, model.state_dict(), kind, tokenizer)
