"""Models of HuggingFace transformers, looked at under Assay's names."""
