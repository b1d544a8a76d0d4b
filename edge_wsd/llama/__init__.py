"""The only room that imports llama_cpp: typed owners over its low-level API. Every return code becomes a typed error."""
