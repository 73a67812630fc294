"""Models of HuggingFace transformers, recorded under Assay's names."""
