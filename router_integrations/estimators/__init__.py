"""Estimators: how good, how dear and how slow a candidate will be; one paradigm a file."""

from router_integrations.estimators.answer_quality import AnswerQuality, Weakest
from router_integrations.estimators.budgets import BudgetCurve
from router_integrations.estimators.calibrated import CalibratedEstimator
from router_integrations.estimators.cluster_latency import ClusterLatency
from router_integrations.estimators.clustering import ClusterRank, KMeansQuality
from router_integrations.estimators.completeness import Completeness
from router_integrations.estimators.consistency import Agreement, SampleSimilarity, SelfConsistency, SemanticEntropy
from router_integrations.estimators.constrained import Constrained
from router_integrations.estimators.contrastive import DualContrastive
from router_integrations.estimators.difficulty import Difficulty
from router_integrations.estimators.distillation import Zooter
from router_integrations.estimators.domains import DomainQuality
from router_integrations.estimators.elo import Eagle
from router_integrations.estimators.evidence import Evidence
from router_integrations.estimators.forest import Forest
from router_integrations.estimators.graph import GraphRouter
from router_integrations.estimators.groundedness import Groundedness, RetrievalScore
from router_integrations.estimators.latent import MatrixFactorization
from router_integrations.estimators.learned_answers import CalibratedConfidence
from router_integrations.estimators.learned_map import LearnedMap
from router_integrations.estimators.logged import DoublyRobust
from router_integrations.estimators.matching import Matching
from router_integrations.estimators.neighbors import Neighbors
from router_integrations.estimators.personal import PerUser
from router_integrations.estimators.policies import Policies
from router_integrations.estimators.pre_post import PrePost
from router_integrations.estimators.preference import BradleyTerry, PromptBradleyTerry, SimilarityWeighted
from router_integrations.estimators.regression import MLP, Linear
from router_integrations.estimators.response import MIRT, NIRT
from router_integrations.estimators.scorers import AnswerScorer, QuantileClassifier
from router_integrations.estimators.syntax import CodeSyntax, SchemaValidity, ToolCallValidity
from router_integrations.estimators.uncertainty import TokenConfidence, TopTokenConfidence
from router_integrations.estimators.verification import SelfVerification, VerbalizedConfidence

__all__ = [
    "Difficulty",
    "CalibratedEstimator",
    "Neighbors",
    "Linear",
    "MLP",
    "Forest",
    "Matching",
    "BudgetCurve",
    "Constrained",
    "MatrixFactorization",
    "MIRT",
    "NIRT",
    "GraphRouter",
    "DualContrastive",
    "KMeansQuality",
    "ClusterRank",
    "LearnedMap",
    "DomainQuality",
    "ClusterLatency",
    "BradleyTerry",
    "SimilarityWeighted",
    "Eagle",
    "PromptBradleyTerry",
    "PerUser",
    "Policies",
    "DoublyRobust",
    "Zooter",
    "AnswerQuality",
    "Weakest",
    "TokenConfidence",
    "TopTokenConfidence",
    "VerbalizedConfidence",
    "SelfVerification",
    "SelfConsistency",
    "SemanticEntropy",
    "SampleSimilarity",
    "Agreement",
    "CodeSyntax",
    "SchemaValidity",
    "ToolCallValidity",
    "Completeness",
    "Groundedness",
    "RetrievalScore",
    "QuantileClassifier",
    "AnswerScorer",
    "CalibratedConfidence",
    "PrePost",
    "Evidence",
]
