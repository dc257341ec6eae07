"""A real language model on this machine, for the demo, the cookbooks and the tests.

SmolLM2-135M-Instruct (Apache-2.0, 98 MB) behind llama.cpp's own OpenAI-compatible server. See
`router_integrations.demo.weights` and `router_integrations.demo.server`.
"""

from __future__ import annotations

from importlib.util import find_spec

for _module in ("platformdirs", "xllamacpp"):
    if find_spec(_module) is None:
        raise ImportError(
            f'router_integrations.demo needs {_module}: pip install "router_integrations[demo]"',
            name=_module,
        )
