"""Estimators: how good, how dear and how slow a candidate will be; one paradigm a file."""

from router_integrations.estimators.clustering import KMeansQuality
from router_integrations.estimators.contrastive import DualContrastive
from router_integrations.estimators.difficulty import Difficulty
from router_integrations.estimators.elo import Eagle
from router_integrations.estimators.latent import MIRT, MatrixFactorization
from router_integrations.estimators.neighbors import Neighbors
from router_integrations.estimators.preference import BradleyTerry, PromptBradleyTerry, SimilarityWeighted
from router_integrations.estimators.regression import MLP, Linear

__all__ = [
    "Difficulty",
    "Neighbors",
    "Linear",
    "MLP",
    "MatrixFactorization",
    "MIRT",
    "DualContrastive",
    "KMeansQuality",
    "BradleyTerry",
    "SimilarityWeighted",
    "Eagle",
    "PromptBradleyTerry",
]
