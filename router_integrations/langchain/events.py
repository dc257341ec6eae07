"""LangChain's v3 event streams over the router's own chunk streams.

The base class would open a chat-model run for the router and count every token twice, so the events are made from
`stream` and `astream`, whose runs are the router's chain run and the answering model's chat-model run.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator

from langchain_core.language_models._compat_bridge import achunks_to_events, chunks_to_events
from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from router_integrations.langchain.host import as_chunk


def chat_model_stream(messages: Iterator[AIMessageChunk]) -> ChatModelStream:
    """Return a v3 stream that pulls `messages` as it is read."""
    stream = ChatModelStream()
    events = chunks_to_events(_generation(message) for message in messages)

    def pump() -> bool:
        try:
            stream.dispatch(next(events))
        except StopIteration:
            return False
        except BaseException as error:  # noqa: BLE001 - the stream raises it to whoever reads on
            stream.fail(error)
            return False
        return True

    stream.bind_pump(pump)
    return stream


async def achat_model_stream(messages: AsyncIterator[AIMessageChunk]) -> AsyncChatModelStream:
    """Return a v3 stream fed by a task that reads `messages`, started by the first reader."""
    stream = AsyncChatModelStream()

    async def start() -> None:
        if stream._producer_task is None:
            stream._producer_task = asyncio.get_running_loop().create_task(_produce(stream, messages))

    stream.set_start(start)
    return stream


async def _produce(stream: AsyncChatModelStream, messages: AsyncIterator[AIMessageChunk]) -> None:
    try:
        async for event in achunks_to_events(_generations(messages)):
            stream.dispatch(event)
    except asyncio.CancelledError as error:
        stream.fail(error)
        raise
    except BaseException as error:  # noqa: BLE001 - the stream raises it to whoever reads on
        stream.fail(error)


async def _generations(messages: AsyncIterator[AIMessageChunk]) -> AsyncIterator[ChatGenerationChunk]:
    async for message in messages:
        yield _generation(message)


def _generation(message: AIMessage) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=as_chunk(message))
