"""Strategies: who is asked, in what order, and when to stop."""

from router_integrations.strategies.best import Best
from router_integrations.strategies.cascade import Cascade
from router_integrations.strategies.fixed import Fixed
from router_integrations.strategies.judged_policies import JudgedPolicies
from router_integrations.strategies.latency import LatencyTradeoff

__all__ = ["Best", "Cascade", "Fixed", "LatencyTradeoff", "JudgedPolicies"]
