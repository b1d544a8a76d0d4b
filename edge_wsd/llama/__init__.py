"""The only room that imports llama_cpp: typed owners over its low-level API; return codes become errors."""
