"""References of any HuggingFace transformers model: `assay capture MODEL_DIR`.

Runs the model with hooks on every module, in BF16, in double and in FP32, and writes a reference set
as `assay extract` does. It needs numpy, torch and transformers, and not the compiled part of Assay.
"""
