"""GGUF files in other types, and the importance matrices that guide the choice of values."""
