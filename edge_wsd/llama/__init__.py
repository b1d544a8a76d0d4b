"""The only package that imports llama_cpp: typed owners over its low-level API; return codes become errors."""
