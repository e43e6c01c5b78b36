"""How trials of recipes rank their held-out images: ``python studies/trial_table.py TRIAL[+TRIAL ...] ...``.

    python studies/trial_table.py D0 D1 D0+E              a row each; + joins trials, as hilum ensemble does
    python studies/trial_table.py D0 D1 --against F0 F1   and the mean gain over the others, first by first

A trial is the output of ``recipe_conflict.py`` or of ``recipe_series.py``, of the same held-out images. Intervals are
95 %, over patients: they speak of these networks, not of other seeds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from hilum.evaluation.predictions import Predictions, read_predictions
from hilum.stats.intervals import Estimate, Patients, combined
from hilum.stats.metrics import measures
from tables import area, markdown, percent


def joined(trial: str) -> Predictions:
    """Predictions of one trial, or the geometric means of several, divided by their sum."""
    members = [read_predictions(Path(folder) / "val" / "predictions.csv") for folder in trial.split("+")]
    first = members[0]
    places = [{path: i for i, path in enumerate(member.paths)} for member in members]
    stated = [m.probabilities[[at[path] for path in first.paths]] for m, at in zip(members, places, strict=True)]
    product = np.exp(np.mean(np.log(np.maximum(stated, 1e-12)), axis=0))
    return replace(first, probabilities=product / product.sum(axis=1, keepdims=True))


def measured(found: Predictions) -> tuple[list[Estimate], list[Estimate]]:
    """AUROC of each label against the rest and their mean, and the recalls."""
    by_label = measures(found.truth, found.probabilities, found.labels, Patients(found.clusters))
    areas = list(by_label["auroc"].values())
    return [*areas, combined([(1 / len(areas), one) for one in areas])], list(by_label["recall"].values())


def main(trials: list[str], against: list[str]) -> None:
    rows = []
    for trial in trials:
        areas, recalls = measured(joined(trial))
        shown = [area(one.as_json()) for one in areas] + [percent(one.as_json()) for one in recalls]
        rows.append(["+".join(Path(folder).name for folder in trial.split("+")), *shown])
    labels = joined(trials[0]).labels
    print(markdown(["", *(f"AUROC {k}" for k in labels), "mean AUROC", *(f"recall {k} %" for k in labels)], rows))
    if against:
        pairs = [
            (measured(joined(one))[0], measured(joined(other))[0]) for one, other in zip(trials, against, strict=True)
        ]
        for k, name in enumerate([*labels, "mean"]):
            parts = [(sign / len(pairs), pair[side][k]) for pair in pairs for side, sign in ((0, 1), (1, -1))]
            print(f"gain in AUROC, {name}: {area(combined(parts).as_json(), sign='+')}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("trials", nargs="+")
    parser.add_argument("--against", nargs="+", default=[])
    given = parser.parse_args()
    main(given.trials, given.against)
