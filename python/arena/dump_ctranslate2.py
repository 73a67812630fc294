"""CTranslate2: the logits and the greedy text are all that it gives."""

import tempfile

import numpy as np
from ctranslate2 import Generator
from ctranslate2.converters import TransformersConverter
from dumping import MODEL, prompts, save

with tempfile.TemporaryDirectory() as folder:
    TransformersConverter(str(MODEL)).convert(folder, quantization="float32", force=True)
    generator = Generator(folder, compute_type="float32")
    for prompt, ids in prompts():
        logits = np.array(generator.forward_batch([ids]))
        save(prompt, ids, {"logits": logits})
