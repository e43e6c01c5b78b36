"""Does the model beat the shortcuts? Its AUROC beside that of every probe of the audit, on the same test patients.

A probe sees file sizes, formats, dimensions, grey-level histograms, frames or 64 pixels, never the lungs in detail. It
is fitted to the very images that the model was trained on and scores the very images that the model is tested on.
Where either are more than 5000, about 5000 of them are taken, drawn by lot as whole patients, so that time and memory
stay the same however many there are. A model that does not beat all probes has not been shown to have learnt more than
they show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.audit.features import Probe, probes
from hilum.audit.probing import fit_scores
from hilum.audit.shortcuts import FEWEST
from hilum.audit.survey import survey
from hilum.data.rows import owner, pack
from hilum.data.table import Row, Table
from hilum.errors import HilumError
from hilum.evaluation.lot import Lot
from hilum.evaluation.own_table import own_table
from hilum.evaluation.predictions import Predictions
from hilum.intervals.areas import auroc_estimate
from hilum.intervals.combined import combined
from hilum.intervals.shares import Patients
from hilum.progress import Progress
from hilum.training.run import Run

Floats = NDArray[np.float64]
MOST = 5000  # images, about, to fit probes to, and as many to ask them of: each is opened, and its thumbnail held


def shortcut_gate(
    run: Run, predictions: Predictions, tested: Table, *, own: bool = True, progress: Progress | None = None
) -> dict[str, Any]:
    """Compare a run's predictions with probes that were fitted to its training images.

    Args:
        run: A finished run.
        predictions: Of images of `tested`.
        tested: The run's own data, or other people's images under the run's labels. On other data, probes see only
            columns that both tables have.
        own: Whether they are the run's own data.
        progress: Told about long work.

    Returns:
        As `compare_with_probes` has it, and ``n_fitted`` and ``n_asked``, the images that probes were fitted to and
        asked of, and ``n_images``, of which the latter were drawn; with ``note`` and without a verdict where nothing
        could be compared.
    """
    n_images = len(predictions.paths)
    whose = [(predictions.labels[k], c) for k, c in zip(predictions.truth, predictions.clusters, strict=True)]
    lot = Lot.of(whose, MOST)
    predictions = predictions.take(np.flatnonzero([lot.holds(*image) for image in whose]))
    root = tested.root if own else Path(run.environment["data"]["root"])
    table = _fitted_and_asked(run, predictions, root, None if own else tested)
    try:
        seen = survey(table, progress=progress)
    except HilumError as error:
        return _nothing(str(error))
    place = {row.path: i for i, row in enumerate(seen.table.rows) if row.split == "asked"}
    train = np.array([i for i, row in enumerate(seen.table.rows) if row.split == "train"], np.int64)
    paths = [_whole(tested.root, path) for path in predictions.paths]
    if not len(train):
        return _nothing(f"the run's training images are not in {root} any more, so that no probe can be fitted")
    if not all(path in place for path in paths):
        return _nothing("files have gone or changed since the prediction")
    asked = np.array([place[path] for path in paths], np.int64)
    offered, _ = probes(seen)
    labels = predictions.labels
    truth = np.array([labels.index(seen.table.rows[int(i)].label) for i in train], np.int64)
    scores = {
        probe.name: fit_scores(probe.features[train], np.eye(len(labels))[truth], probe.features[asked])
        for probe in offered
    }
    found = compare_with_probes(predictions, offered, scores, run.protected)
    return {**found, "n_fitted": len(train), "n_asked": len(asked), "n_images": n_images}


def _fitted_and_asked(run: Run, predictions: Predictions, root: Path, other: Table | None) -> Table:
    """Training images of the run below `root`, and those of the predictions, in one table, under whole paths."""
    trained = partial(filter, lambda row: row.split == "train")
    lot = Lot.of(((row.label, owner(row.patient_id, row.path)) for row in trained(run.each_split_row())), MOST)
    drawn = (row for row in trained(run.each_split_row()) if lot.holds(row.label, owner(row.patient_id, row.path)))
    label_of = {row.path: row.label for row in drawn}
    ours = own_table(run, root)  # of very many images a part of the memory: not held beside the survey
    asked_of = other or ours
    columns = [{name for row in table.rows for name in row.extra} for table in (ours, asked_of)]
    both = columns[0] & columns[1]

    def placed(place: Path, label: str, split: str, row: Row) -> Row:
        extra = {name: value for name, value in row.extra.items() if name in both}
        return replace(row, path=_whole(place, row.path), label=label, split=split, extra=extra)

    wanted = set(predictions.paths)
    place = other.root if other else root
    fitted = (placed(ours.root, label_of[row.path], "train", row) for row in ours.rows if row.path in label_of)
    asked = (placed(place, row.label, "asked", row) for row in asked_of.rows if row.path in wanted)
    return Table(place, pack(chain(fitted, asked)))


def _whole(root: Path, path: str) -> str:
    return str((root / path).absolute())  # two roots become one, which a relative path would be joined to


def compare_with_probes(
    predictions: Predictions,
    offered: Sequence[Probe],
    scores: dict[str, NDArray[np.float32]],
    protected: str | None,
) -> dict[str, Any]:
    """Compare by AUROC of one label against the rest, paired by patients.

    The model has to beat each probe for itself, so that no correction for their number is needed (intersection-union
    test: Berger 1982, *Technometrics*).

    Args:
        predictions: Of N images, K labels.
        offered: The probes.
        scores: What each says of these images, by name, of shape (N, K).
        protected: The label by which the model is judged; if there is none, all labels are.

    Returns:
        ``labels``: for each that has enough patients on both sides ``model``, and ``probes`` (``name``, ``kind``,
        ``auroc``, ``difference``: model minus probe), the strongest first. ``judged_by``, ``best`` (the strongest
        probe of these labels), and ``beaten``: whether the interval of every difference lies above zero. None, with
        ``note``, where nothing can be said.
    """
    patients = Patients(predictions.clusters)
    found: dict[str, Any] = {}
    for k, label in enumerate(predictions.labels):
        positive = predictions.truth == k
        if min((patients.sums(side) > 0).sum() for side in (positive, ~positive)) < FEWEST:
            continue

        model = auroc_estimate(predictions.probabilities[:, k], positive, patients)
        beside: list[dict[str, Any]] = []
        for probe in offered:
            area = auroc_estimate(scores[probe.name][:, k], positive, patients)
            lead = combined([(1.0, model), (-1.0, area)])
            numbers = {"auroc": area.as_json(), "difference": lead.as_json()}
            beside.append({"name": probe.name, "kind": probe.kind, **numbers})
        beside.sort(key=lambda entry: -entry["auroc"]["value"])
        found[label] = {"model": model.as_json(), "probes": beside}
    judged_by = [label for label in found if protected is None or label == protected]
    if not judged_by or not offered:
        return _nothing(f"fewer than {FEWEST} patients with, or without, what is judged")
    hardest = min(
        ((label, entry) for label in judged_by for entry in found[label]["probes"]),
        key=lambda pair: pair[1]["difference"]["low"],
    )
    return {
        "labels": found,
        "judged_by": judged_by,
        "best": {"label": hardest[0], "model": found[hardest[0]]["model"], **hardest[1]},
        "beaten": bool(hardest[1]["difference"]["low"] > 0),
        "note": "",
    }


def gate_sentence(gate: dict[str, Any]) -> str:
    """Whether the model beats the shortcuts, in one sentence."""
    if gate["beaten"] is None:
        return f"the model was not compared with shortcuts: {gate['note']}"
    best = gate["best"]
    model, probe, apart = best["model"]["value"], best["auroc"]["value"], best["difference"]
    compared = (
        f"AUROC of {best['label']} {model:.3f}, against {probe:.3f} by '{best['name']}' alone: difference "
        f"{apart['value']:+.3f} ({apart['low']:+.3f} to {apart['high']:+.3f})"
    )
    if gate.get("n_asked", 0) < gate.get("n_images", 0):
        compared += f", on {gate['n_asked']:,} of {gate['n_images']:,} images, whole patients by lot"
    if gate["beaten"]:
        return f"the model beats every shortcut probe; the nearest: {compared}"
    return f"NOT BETTER THAN A SHORTCUT: {compared}. Nothing shows that this model has learnt more than that"


def _nothing(note: str) -> dict[str, Any]:
    return {"labels": {}, "judged_by": [], "best": None, "beaten": None, "note": note}
