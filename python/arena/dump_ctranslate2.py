"""CTranslate2: it exposes only the logits."""

import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
from ctranslate2 import Generator
from ctranslate2.converters import TransformersConverter
from cut import cut_tokenizer
from dumping import MODEL, config, prompts, save

with tempfile.TemporaryDirectory() as folder:
    source, converted = Path(folder) / "source", Path(folder) / "converted"
    shutil.copytree(MODEL, source)
    # It needs a token for every row, and the names of the special ones.
    tokenizer = cut_tokenizer(MODEL, config()["vocab_size"])
    (source / "tokenizer.json").write_text(json.dumps(tokenizer))
    first = min(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    names = {f"{kind}_token": first for kind in ("bos", "eos", "unk", "pad")}
    names["tokenizer_class"] = "PreTrainedTokenizerFast"
    (source / "tokenizer_config.json").write_text(json.dumps(names))
    TransformersConverter(str(source)).convert(str(converted), quantization="float32")
    generator = Generator(str(converted), compute_type="float32")
    for prompt, ids in prompts():
        save(prompt, ids, {"logits": np.array(generator.forward_batch([ids]))})
