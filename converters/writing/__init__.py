"""The GGUF file on its way to the disk: encoded by blocks of rows, complete or not there at all."""
