"""The algorithm: no files, no terminal, and no llama.cpp. It sees sequences through the protocols of `sequence.py`."""
