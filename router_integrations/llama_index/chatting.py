"""What our LLMs have in common: completions are chats, and tools go along with the conversation."""

from abc import abstractmethod
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, closing
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    MessageRole,
)
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools import BaseTool

from router_integrations.llama_index.replies import completion
from router_integrations.llama_index.tool_calls import selections, with_message


class ChatLLM(FunctionCallingLLM):
    """An LLM that answers conversations, and prompts as conversations of one message."""

    @abstractmethod
    def _with_tools(self, tools: Sequence[BaseTool], given: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of `chat` beside the messages.

        Args:
            tools: The tools.
            given: What the caller of `chat_with_tools` gave beside tools and messages.
        """

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,  # noqa: FBT001, FBT002
        allow_parallel_tool_calls: bool = False,  # noqa: FBT001, FBT002
        tool_required: bool = False,  # noqa: FBT001, FBT002
        **kwargs: Any,
    ) -> dict[str, Any]:
        kwargs["allow_parallel_tool_calls"] = allow_parallel_tool_calls
        kwargs["tool_required"] = tool_required
        return {"messages": with_message(chat_history, user_msg), **self._with_tools(tools, kwargs)}

    def get_tool_calls_from_response(
        self,
        response: ChatResponse,
        error_on_no_tool_call: bool = True,  # noqa: FBT001, FBT002
        **kwargs: Any,
    ) -> list[ToolSelection]:
        """Return the tool calls of a response, or of one that is still being streamed.

        Args:
            response: The response.
            error_on_no_tool_call: Whether none is an error.
            **kwargs: Not used.

        Raises:
            ValueError: There is no tool call.
        """
        return selections(response, required=error_on_no_tool_call)

    def _prompt(self, prompt: str, *, formatted: bool) -> list[ChatMessage]:
        shape = self.completion_to_prompt
        text = prompt if formatted or shape is None else shape(prompt)
        return [ChatMessage(role=MessageRole.USER, content=text)]

    def _completions(self, responses: Generator[ChatResponse, None, None]) -> CompletionResponseGen:
        with closing(responses):
            for response in responses:
                yield completion(response)

    async def _acompletions(self, responses: AsyncGenerator[ChatResponse, None]) -> CompletionResponseAsyncGen:
        async with aclosing(responses):
            async for response in responses:
                yield completion(response)
