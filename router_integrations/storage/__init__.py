"""Routers in a folder: settings as JSON, what was learnt as safetensors; loading runs no code of the folder's."""

from router_integrations.storage.folder import SavedRouter, load_router, save_router

__all__ = ["SavedRouter", "load_router", "save_router"]
