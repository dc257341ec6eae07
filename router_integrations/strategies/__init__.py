"""Strategies: who is asked, in what order, and when to stop."""

from router_integrations.strategies.best import Best
from router_integrations.strategies.fixed import Fixed

__all__ = ["Best", "Fixed"]
