"""LangChain: `RouterChatModel`, a chat model that is several; `CascadeRunnable`, a cascade of any runnables."""

try:
    import langchain_core  # noqa: F401
except ImportError as error:
    raise ImportError(
        'router_integrations.langchain needs langchain-core: pip install "router_integrations[langchain]"'
    ) from error

from router_integrations.langchain.cascade import CascadeRunnable
from router_integrations.langchain.chat_model import RouterChatModel
from router_integrations.langchain.litellm_model import LiteLLMChatModel

__all__ = ["CascadeRunnable", "LiteLLMChatModel", "RouterChatModel"]
