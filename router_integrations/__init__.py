"""Choose, for every single query, which LLM should answer it, inside LangChain and LlamaIndex.

The adapters are `router_integrations.langchain` and `router_integrations.llama_index`; what they share is here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from router_integrations._version import __version__

if TYPE_CHECKING:
    from router_integrations.candidates import Candidate
    from router_integrations.encoders import HashingEncoder
    from router_integrations.encoders_fusion import FusionEncoder
    from router_integrations.errors import RouterError
    from router_integrations.estimators import Difficulty
    from router_integrations.gating import Gate
    from router_integrations.health import Health
    from router_integrations.learning import Record, Table
    from router_integrations.ledger import Ledger
    from router_integrations.limits import Limits
    from router_integrations.pacer import Pacer
    from router_integrations.strategies import Best, Fixed
    from router_integrations.trace import Trace
    from router_integrations.types import (
        Attempt,
        Call,
        Estimate,
        Estimator,
        Request,
        Snapshot,
        Stop,
        Strategy,
        Usage,
        Utility,
    )

# Each public name and the module it lives in; loaded when first used, so that an import stays quick.
_HOMES = {
    "Candidate": "candidates",
    "HashingEncoder": "encoders",
    "FusionEncoder": "encoders_fusion",
    "RouterError": "errors",
    "Difficulty": "estimators",
    "Gate": "gating",
    "Health": "health",
    "Record": "learning",
    "Table": "learning",
    "Ledger": "ledger",
    "Limits": "limits",
    "Pacer": "pacer",
    "Best": "strategies",
    "Fixed": "strategies",
    "Trace": "trace",
    "Attempt": "types",
    "Call": "types",
    "Estimate": "types",
    "Estimator": "types",
    "Request": "types",
    "Snapshot": "types",
    "Stop": "types",
    "Strategy": "types",
    "Usage": "types",
    "Utility": "types",
}

__all__ = [
    "__version__",
    "Attempt",
    "Best",
    "Call",
    "Candidate",
    "Difficulty",
    "Estimate",
    "Estimator",
    "Fixed",
    "FusionEncoder",
    "Gate",
    "HashingEncoder",
    "Health",
    "Ledger",
    "Limits",
    "Pacer",
    "Record",
    "Request",
    "RouterError",
    "Snapshot",
    "Stop",
    "Strategy",
    "Table",
    "Trace",
    "Usage",
    "Utility",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
