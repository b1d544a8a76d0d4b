"""Ollama's interface: chat, generate, and what its clients ask before they do."""

from edge_wsd.serve.ollama.chat_routes import router as chat_router
from edge_wsd.serve.ollama.model_routes import router as model_router

ROUTERS = (chat_router, model_router)
