"""How good a router is: replay over recorded outcomes, metrics, curves, intervals, reports."""

from router_integrations.evaluation.bootstrap import Interval, bootstrap, paired_bootstrap
from router_integrations.evaluation.bulk import Forecast, forecast
from router_integrations.evaluation.curves import (
    Curve,
    Point,
    best_single,
    cheapest,
    frontier,
    oracle,
    prices,
    singles,
    strong_share,
    sweep,
    uniform,
)
from router_integrations.evaluation.escalation import ibc_lift
from router_integrations.evaluation.evaluating import cross_evaluate, evaluate
from router_integrations.evaluation.leaderboards import (
    arena_score,
    call_rate_bands,
    cost_save,
    optimal_selection,
    perf_gain,
    quality_drop,
    selection_entropy,
)
from router_integrations.evaluation.metrics import (
    aiq,
    apgr,
    auroc,
    brier,
    cascade_auc,
    cpt,
    deferral_area,
    ece,
    gain,
    gap,
    hull,
    pgr,
    quality_neutral_cost,
)
from router_integrations.evaluation.replay import Replay, replay, replay_each
from router_integrations.evaluation.report import Evaluation, Result
from router_integrations.evaluation.selective import auarc
from router_integrations.evaluation.tables import priced, subset

__all__ = [
    "evaluate",
    "cross_evaluate",
    "Evaluation",
    "Result",
    "Replay",
    "replay",
    "replay_each",
    "Forecast",
    "forecast",
    "subset",
    "priced",
    "Curve",
    "Point",
    "sweep",
    "prices",
    "singles",
    "best_single",
    "cheapest",
    "uniform",
    "oracle",
    "frontier",
    "strong_share",
    "pgr",
    "apgr",
    "cpt",
    "hull",
    "aiq",
    "cascade_auc",
    "deferral_area",
    "quality_neutral_cost",
    "gain",
    "gap",
    "perf_gain",
    "cost_save",
    "quality_drop",
    "arena_score",
    "optimal_selection",
    "selection_entropy",
    "call_rate_bands",
    "ece",
    "brier",
    "auroc",
    "auarc",
    "ibc_lift",
    "Interval",
    "bootstrap",
    "paired_bootstrap",
]
