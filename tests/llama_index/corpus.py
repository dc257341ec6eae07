"""What the tests of query engines share: a small corpus with an offline index, and engines on the scripted server."""

from __future__ import annotations

from typing import Any

from llama_index.core import Document, VectorStoreIndex
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.response.schema import AsyncStreamingResponse, Response, StreamingResponse
from llama_index.core.llms import ChatMessage, CompletionResponse, MockLLM
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.query_engine import CustomQueryEngine
from llama_index.core.schema import NodeWithScore

from router_integrations import Candidate, HashingEncoder
from router_integrations.llama_index import LiteLLMModel
from router_integrations.testing.replies import Reply
from tests.wired import Seen

CHEAP = {"input_price": 1e-7, "output_price": 4e-7}
DEAR = {"input_price": 3e-6, "output_price": 1e-5}
USAGE = {"prompt_tokens": 50, "completion_tokens": 10, "total_tokens": 60}
PAID = {"small": 50 * 1e-7 + 10 * 4e-7, "big": 50 * 3e-6 + 10 * 1e-5}
TEXTS = (
    "Brightwell was founded by Ada Moss in 1987.",
    "Brightwell makes lamps in Leeds.",
    "Holidays are 30 days a year.",
)
ASK = "Who founded Brightwell?"
RIGHT = Reply(text="Brightwell was founded by Ada Moss.", usage=USAGE)
WRONG = Reply(text="It was Tom Reed in 1990.", usage=USAGE)


class Hashed(BaseEmbedding):
    """Our own encoder as an embedding: offline, and it knows words."""

    def _get_query_embedding(self, query: str) -> list[float]:
        return [float(value) for value in HashingEncoder().encode([query])[0]]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_query_embedding(text)


class Wire(Seen):
    """The scripted server as one test sees it, with query engines over it."""

    def candidate(self, name: str, **fields: Any) -> Candidate:
        """A LiteLLM candidate that reaches the server."""
        params = {"api_base": self.server.base_url, "api_key": "sk-test"}
        prices = DEAR if name == "big" else CHEAP
        return Candidate(f"openai/{name}", **{"name": name, "params": params, "max_retries": 0, **prices, **fields})

    def llm(self, name: str) -> LiteLLMModel:
        return LiteLLMModel(candidate=self.candidate(name))

    def query_engine(self, name: str, **options: Any) -> BaseQueryEngine:
        """A query engine over the corpus whose answers come from the server."""
        index = VectorStoreIndex.from_documents([Document(text=text) for text in TEXTS], embed_model=Hashed())
        return index.as_query_engine(llm=self.llm(name), similarity_top_k=2, **options)

    def rung(self, name: str, **options: Any) -> Candidate:
        return Candidate(name, model=self.query_engine(name, **options), **(DEAR if name == "big" else CHEAP))


async def read(response: Any) -> tuple[str, list[str]]:
    """The text of a response and the pieces it came in; one that does not stream is one piece."""
    if isinstance(response, AsyncStreamingResponse):
        pieces = [piece async for piece in response.response_gen]
    elif isinstance(response, StreamingResponse):
        pieces = list(response.response_gen)
    else:
        assert isinstance(response, Response)
        pieces = [response.response or ""]
    return "".join(pieces), pieces


async def query(engine: BaseQueryEngine, way: str, ask: Any = ASK) -> Any:
    return await engine.aquery(ask) if way == "aquery" else engine.query(ask)


class Drops(BaseNodePostprocessor):
    """Leaves nothing of what was retrieved."""

    def _postprocess_nodes(self, nodes: list[NodeWithScore], query_bundle: Any = None) -> list[NodeWithScore]:
        return []


class Tells(MockLLM):
    """A model of the simple kind, whose `chat` asks its own `complete`; it tells its tokens."""

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:  # noqa: FBT002
        return CompletionResponse(text="So it is.", raw={"model": "tells", "usage": USAGE})


class Chats(CustomQueryEngine):
    """A model's chat as a query engine."""

    llm: Any

    def custom_query(self, query_str: str) -> Response:
        return Response(self.llm.chat([ChatMessage(query_str)]).message.content)
