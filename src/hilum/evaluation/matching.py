"""Other people's labels: which of the run's they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hilum.data.label_names import spelling_key
from hilum.data.labels import is_covid, is_healthy, last_component
from hilum.errors import SplitError, UsageError

LEFT_OUT = ""


def parse_map(settings: Sequence[str]) -> dict[str, str]:
    """Read ``THEIRS=OURS``; nothing after the sign leaves a label out.

    Raises:
        UsageError: There is no equals sign, or one label is mapped twice.
    """
    found: dict[str, str] = {}
    for setting in settings:
        theirs, sign, ours = setting.partition("=")
        if not sign or not theirs.strip():
            msg = f"--map {setting}: write THEIRS=OURS, such as --map covid=infected/covid; THEIRS= leaves it out."
            raise UsageError(msg, code="malformed-mapping")
        if theirs.strip() in found:
            msg = f"--map {setting}: '{theirs.strip()}' is mapped twice. Keep one of them."
            raise UsageError(msg, code="mapped-twice")
        found[theirs.strip()] = ours.strip()
    return found


def match_labels(
    theirs: Sequence[str], ours: Sequence[str], given: Mapping[str, str] | None = None, *, root: Path | str = "data"
) -> dict[str, str]:
    """Find the run's label for each label of other data.

    A label is matched by what was given, else by its whole name, else by its last component, in any spelling that
    reading takes for the same (`spelling_key`); all names for healthy are one, and all for COVID-19. Where two of the
    run's labels would do, nothing is guessed.

    Args:
        theirs: The labels of the other data.
        ours: The run's.
        given: What they are, where it is known; empty leaves a label out.
        root: Where the other data lie, for messages.

    Returns:
        One entry for each of `theirs`, empty where it is to be left out.

    Raises:
        SplitError: One of them cannot be matched.
        UsageError: `given` names a label that does not exist.
    """
    given = given or {}
    for label, target in given.items():
        if label not in theirs:
            msg = f"--map {label}={target}: {root} has no label '{label}'. Its labels: {', '.join(theirs)}."
            raise UsageError(msg, code="no-such-label")
        if target not in (LEFT_OUT, *ours):
            msg = f"--map {label}={target}: the run has no label '{target}'. Its labels: {', '.join(ours)}."
            raise UsageError(msg, code="no-such-target")
    matched = {}
    for label in theirs:
        alike = [name for name in ours if _key(name) == _key(label)]
        if label in given:
            matched[label] = given[label]
        elif label in ours:
            matched[label] = label
        elif len(alike) == 1:
            matched[label] = alike[0]
        else:
            known = f"it knows {', '.join(ours)}"
            why = f"which may be {' or '.join(alike)}" if alike else f"which the run does not know ({known})"
            msg = (
                f"{root}: holds the label '{label}', {why}. Say what it is with --map '{label}=OURS', or leave its "
                f"images out with --map '{label}='."
            )
            raise SplitError(msg, code="unmapped-label")
    return matched


def _key(label: str) -> str:
    return "normal" if is_healthy(label) else "covid" if is_covid(label) else spelling_key(last_component(label))
