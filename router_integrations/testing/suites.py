"""What the contract suites share: tests are inherited, and waived aloud or not at all."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

try:
    import pytest
except ImportError as error:
    raise ImportError(
        'router_integrations.testing.suites needs pytest: pip install "router_integrations[test]"'
    ) from error


class Suite:
    """A class of tests to inherit, whose tests cannot be taken out in silence."""

    def test_no_test_is_waived_in_silence(self) -> None:
        """A suite with a test taken out proves nothing."""
        for suite in (cls for cls in type(self).__mro__ if cls.__module__.startswith("router_integrations.testing.")):
            for name in (name for name in vars(suite) if name.startswith("test_")):
                mine = getattr(type(self), name)
                marks = getattr(mine, "pytestmark", [])
                aloud = any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks)
                assert aloud or mine is vars(suite)[name], (
                    f"{name} is overridden; mark it with @pytest.mark.xfail(reason=...) to waive it"
                )


def waived(test: Callable[..., None], *, reason: str) -> Callable[..., None]:
    """Return an inherited test that is known to fail; it fails when it passes, so that no waiver outlives its reason.

    Args:
        test: The test of the suite, which is left as it is.
        reason: What the subject lacks.

    >>> class Lenient(Suite):
    ...     test_no_test_is_waived_in_silence = waived(Suite.test_no_test_is_waived_in_silence, reason="an example")
    >>> Lenient.test_no_test_is_waived_in_silence.pytestmark[0].kwargs
    {'reason': 'an example', 'strict': True}
    """

    @functools.wraps(test)
    def again(*args: Any, **kwargs: Any) -> None:
        test(*args, **kwargs)

    marked: Callable[..., None] = pytest.mark.xfail(reason=reason, strict=True)(again)
    return marked
