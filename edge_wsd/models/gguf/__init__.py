"""GGUF files: reading their headers, checking them, and what they say of a model's shape."""
