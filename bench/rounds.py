"""Rounds: contenders take turns, so that what the machine does meanwhile befalls all of them."""

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import TypeVar

Figures = Mapping[str, float]
"""What one round of one contender measured, by the key of the measure."""

Contender = Callable[[], Figures]
T = TypeVar("T")


def alternate(
    contenders: Mapping[str, Contender | None], rounds: int, warm_ups: int = 1
) -> dict[str, dict[str, list[float]]]:
    """Let contenders take turns and return the figures of every round, by contender and measure.

    Args:
        contenders: By name, in the order of their turns; None for one that is missing.
        rounds: How many count.
        warm_ups: How many come before and do not.
    """
    present = {name: contender for name, contender in contenders.items() if contender is not None}
    figures: dict[str, dict[str, list[float]]] = {name: {} for name in present}
    for number in range(-warm_ups, rounds):
        for name, contender in present.items():
            measured = contender()
            if number >= 0:
                for key, value in measured.items():
                    figures[name].setdefault(key, []).append(value)
    return figures


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that so many percent of the values do not exceed; 0 when there are none."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


__all__ = ["Contender", "Figures", "alternate", "median", "percentile"]
