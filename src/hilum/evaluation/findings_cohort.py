"""Other data's findings under a model's names; what only one of the two knows is left out, and said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from hilum.data.cache import Images
from hilum.data.dataset import Dataset
from hilum.data.label_names import spelling_key
from hilum.data.multilabel import finding_values, with_findings
from hilum.errors import SplitError, UsageError
from hilum.text import printable
from hilum.training.run import Run

SHOWN = 8  # findings that a note names


def check_task(table: Dataset, findings: Sequence[str], model: Path | str) -> None:
    """Refuse data of exclusive labels for a model of findings, and the reverse.

    Args:
        table: Other data than the model's own.
        findings: Of the model; none where its labels exclude each other.
        model: What messages call it.

    Raises:
        SplitError: One of the two has several findings an image, the other has exclusive labels.
    """
    if bool(findings) == bool(table.findings):
        return
    here, there = "several findings per image", "one label per image"
    kinds = (here, there) if table.findings else (there, here)
    msg = f"{table.root}: has {kinds[0]}, and {model} was trained on {kinds[1]}. Give data of the same kind."
    raise SplitError(msg, code="other-task", path=table.root)


def findings_as_ours(run: Run, images: Images, mapping: Mapping[str, str], notes: list[str]) -> Images:
    """The same images with the run's findings, as `findings_as` gives them."""
    return replace(images, table=findings_as(images.table, run.findings, mapping, notes))


def findings_as(table: Dataset, ours: Sequence[str], mapping: Mapping[str, str], notes: list[str]) -> Dataset:
    """The same rows with a model's findings, in its order; unknown where the data lack one.

    Args:
        table: Other data than the model's own.
        ours: Findings of the model.
        mapping: The model's finding for findings of the data; empty to leave one out.
        notes: What was renamed and left out is added.

    Raises:
        SplitError: No finding is known to both.
        UsageError: `mapping` names a finding that does not exist.
    """
    matched = match_findings(table.findings, ours, mapping, root=table.root)
    values = finding_values(table)
    known = np.full((len(table), len(ours)), np.nan, np.float32)
    for k, name in enumerate(ours):
        if name in matched:
            known[:, k] = values[:, table.findings.index(matched[name])]
    if not matched:
        msg = (
            f"{table.root}: none of its findings ({', '.join(table.findings)}) is one of the model's "
            f"({', '.join(ours)}). Map them with --map-label SRC=DST."
        )
        raise SplitError(msg, code="other-findings")
    renamed = [f"{theirs} as {name}" for name, theirs in matched.items() if theirs != name]
    notes += [f"findings were read as the model's: {', '.join(renamed)}"] if renamed else []
    excluded = [name for name in table.findings if mapping.get(name) == ""]
    notes += _one_sided(ours, table.findings, matched, excluded)
    return with_findings(replace(table, findings=()), ours, known)


def match_findings(
    theirs: Sequence[str], ours: Sequence[str], given: Mapping[str, str], *, root: Path | str = "data"
) -> dict[str, str]:
    """The other data's finding for each of the run's findings that they have, in any spelling.

    Args:
        theirs: Findings of the other data.
        ours: The run's.
        given: The run's finding for some of theirs; empty leaves one out.
        root: Where the other data lie, for messages.

    Raises:
        UsageError: `given` names a finding that does not exist, or two for one of the run's.
    """
    for source, target in given.items():
        if source not in theirs or target not in ("", *ours):
            whose, names = ("run", ours) if source in theirs else ("data", theirs)
            msg = (
                f"--map-label {source}={target}: {root}: the {whose} has these findings: {', '.join(names)}. Name one."
            )
            raise UsageError(msg, code="no-such-label")
    spelled = {spelling_key(name): name for name in ours}
    found: dict[str, str] = {}
    for name in theirs:
        target = given.get(name, spelled.get(spelling_key(name), ""))
        if target in found:
            both = f"'{found[target]}' and '{name}' would both be '{target}'"
            msg = f"{root}: {both}. Leave one out: --map-label '{name}='."
            raise UsageError(msg, code="mapped-twice")
        if target:
            found[target] = name
    return {name: found[name] for name in ours if name in found}


def _one_sided(
    ours: Sequence[str], theirs: Sequence[str], matched: Mapping[str, str], excluded: Sequence[str]
) -> list[str]:
    told = [
        f"{whose}: {', '.join(map(printable, names[:SHOWN]))}{' and more' if len(names) > SHOWN else ''}"
        for whose, names in (
            ("not in the data", [name for name in ours if name not in matched]),
            ("not known to the model", [name for name in theirs if name not in (*matched.values(), *excluded)]),
            ("excluded by --map-label", excluded),
        )
        if names
    ]
    return [f"findings that are not evaluated: {'; '.join(told)}"] if told else []
