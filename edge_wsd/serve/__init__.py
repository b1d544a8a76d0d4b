"""HTTP: the interfaces of OpenAI and Ollama, and a page, over pairs in memory."""
