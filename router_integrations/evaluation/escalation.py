"""What a cascade buys with the money it adds, as AutoMix measures it."""

from __future__ import annotations

from router_integrations.errors import ConfigurationError


def ibc_lift(quality: float, cost: float, *, small: tuple[float, float], large: tuple[float, float]) -> float:
    """Return ΔIBC, by how much a router's quality gained per cost added exceeds that of always asking the large one.

    Above 0 the router is better than mixing both candidates at random; -1 is a router that adds cost and gains nothing.
    A fraction; AutoMix (arXiv 2310.12963) prints it times 100.

    Args:
        quality: Mean quality of the router.
        cost: Mean cost of a query, verdicts included.
        small: Mean quality and mean cost of the small candidate.
        large: Mean quality and mean cost of the large candidate.

    Raises:
        ConfigurationError: The router is not dearer than the small candidate, or the large one not better and dearer.

    >>> ibc_lift(0.75, 2.0, small=(0.5, 1.0), large=(1.0, 5.0))
    1.0
    """
    if not (large[0] > small[0] and large[1] > small[1]):
        raise ConfigurationError(
            f"ibc_lift needs a large candidate that is better and dearer than the small one but got {large} and {small}"
        )
    if not cost > small[1]:
        raise ConfigurationError(
            f"ibc_lift needs a router that costs more than the small candidate but got {cost!r} and {small[1]!r}; "
            "a router with quality no worse at no more cost needs no such measure"
        )
    base = (large[0] - small[0]) / (large[1] - small[1])
    return (quality - small[0]) / (cost - small[1]) / base - 1.0
