"""LlamaIndex: `RouterLLM`, an LLM that is several, and what routes and cascades beside it."""

try:
    import llama_index.core  # noqa: F401
except ImportError as error:
    raise ImportError(
        'router_integrations.llama_index needs llama-index-core: pip install "router_integrations[llama-index]"'
    ) from error

from router_integrations.llama_index.litellm_llm import LiteLLMModel
from router_integrations.llama_index.query_engine import CascadeQueryEngine
from router_integrations.llama_index.results import RouterEvent
from router_integrations.llama_index.router_llm import RouterLLM
from router_integrations.llama_index.selector import RouterSelector
from router_integrations.llama_index.workflow import CascadeWorkflow

__all__ = ["CascadeQueryEngine", "CascadeWorkflow", "LiteLLMModel", "RouterEvent", "RouterLLM", "RouterSelector"]
