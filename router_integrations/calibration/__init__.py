"""Settings chosen on records: to a budget, a quality floor, a share of calls or an error rate; and batches planned."""

from router_integrations.calibration.agreement import agreement_threshold
from router_integrations.calibration.allocation import allocate, dual_price, plan_batch
from router_integrations.calibration.cascades import CascadeThresholds, tune_cascade
from router_integrations.calibration.choosing import Calibrated, calibrate, calibrate_by_folds
from router_integrations.calibration.confidences import GradedConfidences
from router_integrations.calibration.correctness import CorrectnessCurve
from router_integrations.calibration.drift import Drift, DriftMonitor, drift
from router_integrations.calibration.frugal import frugal_cascade
from router_integrations.calibration.guarantees import AcceptanceThreshold, guaranteed_threshold
from router_integrations.calibration.reliability import calibration_errors
from router_integrations.calibration.targets import Budget, ErrorRate, QualityFloor, StrongShare, Target
from router_integrations.calibration.trials import Trials

__all__ = [
    "calibrate",
    "calibrate_by_folds",
    "Calibrated",
    "Target",
    "Budget",
    "QualityFloor",
    "StrongShare",
    "ErrorRate",
    "Trials",
    "calibration_errors",
    "GradedConfidences",
    "CorrectnessCurve",
    "tune_cascade",
    "CascadeThresholds",
    "frugal_cascade",
    "agreement_threshold",
    "guaranteed_threshold",
    "AcceptanceThreshold",
    "drift",
    "Drift",
    "DriftMonitor",
    "allocate",
    "dual_price",
    "plan_batch",
]
