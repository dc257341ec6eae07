"""LlamaIndex: the contract of an LLM, over a real HTTP server on loopback.

    class TestMine(FunctionCallingLLMContract):
        @pytest.fixture
        def llm(self, server):
            return Mine(model=self.model, api_base=server.base_url, api_key=self.secret)

`LLMContract` is the part that an LLM without tools can keep. The server speaks OpenAI's chat completions. A test is
waived aloud or not at all: ``test_x = waived(LLMContract.test_x, reason="…")``.
"""

try:
    import llama_index.core  # noqa: F401
    import pytest
except ImportError as error:
    raise ImportError(
        "router_integrations.testing.llama_index needs llama-index-core and pytest: "
        'pip install "router_integrations[test]"'
    ) from error

# A failed check shows its values, as it does in a test file.
for _part in ("answers", "blocks", "running", "telling", "tools"):
    pytest.register_assert_rewrite(f"{__name__}.{_part}")

from router_integrations.testing.llama_index.contract import FunctionCallingLLMContract, LLMContract  # noqa: E402
from router_integrations.testing.suites import waived  # noqa: E402

__all__ = ["FunctionCallingLLMContract", "LLMContract", "waived"]
