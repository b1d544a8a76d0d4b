"""Model files: reading and checking them before llama.cpp does."""
