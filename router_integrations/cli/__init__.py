"""The command line: see a router at work, train one on your records, find out how good it is."""

from __future__ import annotations

try:
    from router_integrations.cli.app import app, main
except ImportError as error:
    raise ImportError('the command line needs typer and rich: pip install "router_integrations[demo]"') from error

from router_integrations.cli import gather, judge, learn, look

__all__ = ["app", "main", "look", "gather", "learn", "judge"]
