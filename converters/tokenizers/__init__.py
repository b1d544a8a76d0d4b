"""Tokenizers of checkpoints, and the vocabulary that a GGUF file stores."""
