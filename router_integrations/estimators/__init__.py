"""Estimators: how good, how dear and how slow a candidate will be; one paradigm a file."""

from router_integrations.estimators.difficulty import Difficulty

__all__ = ["Difficulty"]
