"""Strategies: who is asked, in what order, and when to stop."""

from router_integrations.strategies.agreement_cascade import AgreementCascade
from router_integrations.strategies.best import Best
from router_integrations.strategies.best_of_n import BestOfN
from router_integrations.strategies.cascade import Cascade
from router_integrations.strategies.cascade_routing import CascadeRouting
from router_integrations.strategies.escalation import (
    POMDP,
    EscalationPolicy,
    GreedyPOMDP,
    PolicyUnion,
    Thresholds,
)
from router_integrations.strategies.fixed import Fixed
from router_integrations.strategies.hedged import Hedged
from router_integrations.strategies.judged_cascade import JudgedCascade
from router_integrations.strategies.judged_policies import JudgedPolicies
from router_integrations.strategies.latency import LatencyTradeoff
from router_integrations.strategies.multi_stage import MultiStage
from router_integrations.strategies.refining import REFINE_PROMPT
from router_integrations.strategies.self_tested_cascade import SelfTestedCascade

__all__ = [
    "AgreementCascade",
    "Best",
    "BestOfN",
    "Cascade",
    "REFINE_PROMPT",
    "CascadeRouting",
    "Fixed",
    "Hedged",
    "LatencyTradeoff",
    "JudgedPolicies",
    "JudgedCascade",
    "SelfTestedCascade",
    "MultiStage",
    "EscalationPolicy",
    "Thresholds",
    "POMDP",
    "GreedyPOMDP",
    "PolicyUnion",
]
