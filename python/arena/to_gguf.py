"""A checkpoint as a GGUF file: python to_gguf.py MODEL FILE TYPE, with transformers 5."""

import sys
from pathlib import Path

import torch
from cut import cut_tokenizer
from gguf import GGMLQuantizationType
from transformers import AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).parent.parent))
from assay_hf.gguf_file import write_gguf

folder, file, kind = Path(sys.argv[1]), Path(sys.argv[2]), GGMLQuantizationType[sys.argv[3]]
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
tokenizer = cut_tokenizer(folder, model.config.vocab_size)
write_gguf(file, model.config, model.state_dict(), kind, tokenizer)
