"""Labels: folder paths whose nesting is the taxonomy, such as ``infected/covid``."""

from __future__ import annotations

from collections.abc import Iterable

HEALTHY = ("normal", "healthy", "no finding", "no-finding", "no_finding", "negative")
PROTECTED = ("covid", "covid-19", "covid19", "covid_19")


def last_component(label: str) -> str:
    """The innermost name of a label: ``covid`` of ``infected/covid``."""
    return label.rsplit("/", 1)[-1]


def order_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Healthy labels first, the others in alphabetical order.

    Args:
        labels: Any labels, with repetitions.

    Returns:
        Each label once. For the seed's data this is the seed's own order:
        ``normal``, ``infected/covid``, ``infected/non-covid``.
    """
    return tuple(sorted(set(labels), key=lambda label: (last_component(label).lower() not in HEALTHY, label)))


def default_protected(labels: Iterable[str]) -> str | None:
    """The label that must not be missed where nobody said which: COVID-19, if there is one."""
    for label in labels:
        if last_component(label).lower() in PROTECTED:
            return label
    return None
