"""Ollama's interface: chat, generate, and what its clients ask before they do."""
