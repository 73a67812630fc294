"""Qwen3 through HuggingFace transformers, looked at under Assay's names."""
