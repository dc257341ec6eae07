"""Our errors are LangChain's too."""

import pytest
from langchain_core.exceptions import ModelError

from router_integrations.errors import FAMILIES, Family, ProviderError
from router_integrations.langchain.errors import MODEL_ERRORS, as_langchain_error, langchain_errors
from router_integrations.trace import Trace


def failure(family: Family) -> ProviderError:
    error = ProviderError("it failed", family=family, status_code=418, retry_after=1.5)
    error.trace = Trace(reason="told")
    error.__cause__ = KeyError("below")
    return error


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"schema", "unsure", "cancelled"}))
def test_each_family_is_a_langchain_error_with_all_that_it_carries(family: Family) -> None:
    error = failure(family)

    twin = as_langchain_error(error)

    assert isinstance(twin, ModelError)
    assert isinstance(twin, MODEL_ERRORS[family])
    assert (twin.family, twin.status_code, twin.retry_after, str(twin)) == (family, 418, 1.5, "it failed")
    assert (twin.trace, twin.__cause__) == (error.trace, error.__cause__)
    assert twin.is_retryable == error.retryable


def test_what_has_a_twin_or_can_have_none_stays_as_it_is() -> None:
    twin = as_langchain_error(failure("server"))
    unparsed = failure("schema")

    assert as_langchain_error(twin) is twin
    assert as_langchain_error(unparsed) is unparsed


def test_a_block_raises_the_twin_with_the_cause_and_leaves_others_alone() -> None:
    with pytest.raises(ModelError) as caught, langchain_errors():
        raise failure("timeout") from KeyError("real")
    with pytest.raises(LookupError), langchain_errors():
        raise LookupError("mine")

    assert repr(caught.value.__cause__) == "KeyError('real')"
