"""Estimators: how good, how dear and how slow a candidate will be; one paradigm a file."""

from router_integrations.estimators.difficulty import Difficulty
from router_integrations.estimators.neighbors import Neighbors

__all__ = ["Difficulty", "Neighbors"]
