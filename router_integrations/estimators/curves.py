"""Curves that turn an estimate into what really comes of it: Platt's and isotonic ones, as arrays of two rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from router_integrations.errors import ConfigurationError
from router_integrations.estimators.numerics import logistic_regression, sigmoid

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Method = Literal["platt", "isotonic"]
# Estimates closer to 0 or 1 than this count as that far away, so that their log-odds are finite.
EDGE = 1e-3
# Weight of the squared slope of Platt's curve, in units of the spread of the log-odds: keeps a useless one at 0.
_RIDGE = 0.1
# Log-odds spread less than this are alike.
_ALIKE = 1e-3


def require_curve(owner: str, method: str, held_out: float) -> None:
    """Refuse options of an estimator with curves that are out of range.

    Raises:
        ConfigurationError: There is no such method, or the share held out for the curves is not in (0, 1).

    >>> require_curve("CalibratedEstimator", "platt", 0.3)
    """
    if method not in ("platt", "isotonic"):
        raise ConfigurationError(f"{owner}.method must be 'platt' or 'isotonic' but got {method!r}")
    if not 0 < held_out < 1:
        raise ConfigurationError(f"{owner}.held_out must be in (0, 1) but got {held_out!r}; 0.3 is the default")


def draw_curve(method: Method, expected: Floats, grades: Floats, *, edge: float = EDGE) -> Floats:
    """Return the curve: Platt's is slope and intercept, an isotonic one its knots and the quality there.

    Args:
        method: ``"platt"`` or ``"isotonic"``.
        expected: The estimates, each in [0, 1].
        grades: What came of them, each in [0, 1].
        edge: Where log-odds are cut, in (0, 0.5).

    >>> import numpy as np
    >>> draw_curve("isotonic", np.array([0.2, 0.6, 0.8]), np.array([0.0, 1.0, 0.5])).tolist()
    [[0.2, 0.6, 0.8], [0.0, 0.75, 0.75]]
    """
    return _isotonic(expected, grades) if method == "isotonic" else _platt(expected, grades, edge)


def read_curve(method: Method, curve: Floats, expected: Floats, *, edge: float = EDGE) -> Floats:
    """Return the quality at the estimates `expected`; the other arguments are those of `draw_curve`.

    >>> import numpy as np
    >>> read_curve("isotonic", np.array([[0.0, 1.0], [0.5, 0.75]]), np.array([0.5])).tolist()
    [0.625]
    """
    import numpy as np

    quality: Floats
    if method == "isotonic":
        quality = np.interp(expected, curve[0], curve[1])
    else:
        quality = sigmoid(curve[0, 0] * _log_odds(expected, edge) + curve[1, 0]).astype(float)
    return quality


def _platt(expected: Floats, grades: Floats, edge: float) -> Floats:
    import numpy as np

    odds = _log_odds(expected, edge)
    # Estimates that are all alike differ by rounding.
    centre, scale = odds.mean(), max(float(odds.std()), _ALIKE)
    every = np.ones((len(odds), 1))
    slope, intercept = logistic_regression(((odds - centre) / scale)[:, None], grades[:, None], every, _RIDGE)
    return np.array([slope[0] / scale, intercept - slope[0] * centre / scale])


def _isotonic(expected: Floats, grades: Floats) -> Floats:
    import numpy as np
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0.0, y_max=1.0).fit(expected, grades)
    return np.stack([fitted.X_thresholds_, fitted.y_thresholds_])


def _log_odds(expected: Floats, edge: float) -> Floats:
    import numpy as np

    inside = np.clip(expected, edge, 1 - edge)
    odds: Floats = np.log(inside / (1 - inside))
    return odds
