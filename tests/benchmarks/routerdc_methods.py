"""The methods of the RouterDC table and the settings that each may choose from, on train."""

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from sklearn.linear_model import LogisticRegression
from tables import grid

from router_integrations import estimators
from router_integrations.candidates import Candidate
from router_integrations.encoders import Encoder
from router_integrations.learning import Record, Table

# A method and the place of one of its settings.
Setting = tuple[str, int]


class DataSetClassifier:
    """Recognises the data set, then takes its best model: what every router has to beat."""

    def __init__(self, *, encoder: Encoder, alpha: float) -> None:
        self.encoder = encoder
        self.alpha = alpha

    def fit(self, given: Iterable[Record]) -> Self:
        table = Table.of(given)
        vectors, sets = self.encoder.encode(table.texts), np.array(table.domains)
        self.names_ = table.names
        self.classifier_ = LogisticRegression(C=1 / self.alpha, max_iter=1000).fit(vectors, sets)
        self.means_ = np.array([table.quality[sets == name].mean(axis=0) for name in self.classifier_.classes_])
        return self

    def predict(self, texts: Sequence[str], pool: Sequence[Candidate]) -> tuple[np.ndarray, np.ndarray]:
        at = self.classifier_.predict_proba(self.encoder.encode(texts)).argmax(axis=1)
        quality = self.means_[np.ix_(at, [self.names_.index(one.name) for one in pool])]
        return quality, np.zeros_like(quality)


METHODS: dict[str, tuple[Any, list[dict[str, Any]]]] = {
    "DataSetClassifier": (DataSetClassifier, grid(alpha=[1.0, 0.1, 0.01])),
    "DomainQuality": (estimators.DomainQuality, grid(alpha=[10.0, 30.0, 100.0], domain_alpha=[0.3, 0.1])),
    "KMeansQuality": (estimators.KMeansQuality, [*grid(clusters=[10, 20]), *grid(clusters=[32], nearest=[4])]),
    "ClusterRank": (estimators.ClusterRank, grid(clusters=[20])),
    "LearnedMap": (estimators.LearnedMap, grid(clusters=[16])),
    "Neighbors": (estimators.Neighbors, grid(k=[40, 100, 300])),
    "Zooter": (estimators.Zooter, grid(own=[0.0, 0.3, 0.7])),
    "Linear, ridge": (estimators.Linear, grid(alpha=[3.0, 10.0])),
    "Linear, logistic": (estimators.Linear, grid(link=["logistic"], alpha=[3.0, 10.0])),
    "MLP": (estimators.MLP, grid(alpha=[0.1])),
    "Forest": (estimators.Forest, grid(trees=[60], leaf=[5])),
    "MatrixFactorization": (estimators.MatrixFactorization, grid(dimensions=[16])),
    "MIRT": (estimators.MIRT, grid(dimensions=[25])),
    "NIRT": (estimators.NIRT, grid(dimensions=[25])),
    "GraphRouter": (estimators.GraphRouter, grid(dimensions=[32])),
    "DualContrastive": (estimators.DualContrastive, grid(dimensions=[64])),
}
