"""In which keys the recipes of two runs differ, and which runs are other seeds of one method."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hilum.errors import RunError
from hilum.stats.records import Record
from hilum.training.recipe import flatten
from hilum.training.run import Run

SEEDS = re.compile(r"(members\.\d+\.)?training\.seed")  # of a training, or of those of an ensemble's members


class RecipeDifference(Record):
    """A recipe key in which two runs differ, as ``hilum train --set`` spells it, and both values as JSON.

    A value is None where that recipe has no such key.
    """

    key: str
    first: str | None
    second: str | None


def recipe_differences(first: Run, second: Run) -> list[RecipeDifference]:
    """Every recipe key in which two runs differ."""
    one, two = (dict(flatten(run.recipe.model_dump(mode="json"))) for run in (first, second))
    return [
        RecipeDifference(key=key, first=one.get(key), second=two.get(key))
        for key in dict.fromkeys([*one, *two])
        if one.get(key) != two.get(key)
    ]


def check_methods(first: Run, second: Run, more: Sequence[tuple[Run, Run]]) -> None:
    """Refuse other methods: seeds of one differ in ``training.seed``, and each network counts once.

    Seeds of an ensemble of runs differ in ``training.seed`` of its members, and have no member in common.

    Raises:
        RunError: A recipe differs otherwise, or weights occur twice.
    """
    runs = {run.environment.weights_sha256: run for run in (first, second)}
    members = [dict.fromkeys(_of_members(like), like) for like in (first, second)]
    for pair in more:
        for like, run, earlier in zip((first, second), pair, members, strict=True):
            others = [row.key for row in recipe_differences(like, run) if not SEEDS.fullmatch(row.key)]
            if others:
                where = " of the members" if run.recipe.members else ""
                msg = (
                    f"{run.path}: is not another seed of {like.path}: the recipes differ in {', '.join(others)}. Give "
                    f"runs that differ in training.seed{where} only."
                )
                raise RunError(msg, code="other-recipe", path=run.path)
            weights = run.environment.weights_sha256
            if weights in runs:
                msg = f"{run.path}: has the same weights as {runs[weights].path}. Give each network once."
                raise RunError(msg, code="same-weights", path=run.path)
            own = _of_members(run)
            if shared := own & earlier.keys():
                msg = f"{run.path}: has a member of {earlier[min(shared)].path}. Give each network once."
                raise RunError(msg, code="same-weights", path=run.path)
            runs[weights] = run
            earlier.update(dict.fromkeys(own, run))


def _of_members(run: Run) -> set[str]:
    return {member.weights_sha256 for member in run.environment.members}
