"""How reasons put numbers in words."""

from __future__ import annotations

# Decimals at most, for two numbers that hardly differ.
_MOST = 9


def compared(value: float, sign: str, limit: float) -> str:
    """Return a comparison in words: with two decimals, or as many as tell the numbers apart.

    >>> compared(0.804, ">", 0.7), compared(0.8004, ">", 0.8), compared(0.7, ">=", 0.7)
    ('0.80 > 0.70', '0.8004 > 0.8000', '0.70 >= 0.70')
    """
    digits = next((one for one in range(2, _MOST + 1) if f"{value:.{one}f}" != f"{limit:.{one}f}"), 2)
    return f"{value:.{digits}f} {sign} {limit:.{digits}f}"
