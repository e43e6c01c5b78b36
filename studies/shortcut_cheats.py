"""Classifiers that see nothing but the probes' own features, judged by the shortcut baselines: evaluation.md.

``python studies/shortcut_cheats.py RUN DATA`` fits them to the training images of a finished run, evaluated on the
test images of the same data, and judges them, and the run itself, label by label; some five minutes on one core.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from document import fill
from hilum.evaluation.predictions import read_predictions
from hilum.evaluation.shortcut_baselines import Evidence, baselines, compare_with_baselines, gather_evidence
from hilum.training.run import open_run

CHEATS: dict[str, Any] = {
    "extra trees (400)": ExtraTreesClassifier(400, min_samples_leaf=2, random_state=7),
    "random forest (200)": RandomForestClassifier(200, min_samples_leaf=2, random_state=7),
    "gradient boosting": HistGradientBoostingClassifier(max_iter=150, random_state=7),
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=400)),
}


def cheated(evidence: Evidence) -> dict[str, np.ndarray[Any, Any]]:
    """Probabilities of the test images by each cheat, and by the mean of their log-probabilities."""
    features = np.hstack([probe.features for probe in evidence.probes])
    found = {
        name: np.asarray(model.fit(features[evidence.train], evidence.truth).predict_proba(features[evidence.scored]))
        for name, model in CHEATS.items()
    }
    mean = np.exp(np.mean([np.log(shares + 1e-4) for shares in found.values()], axis=0))
    return found | {"their mean": mean / mean.sum(axis=1, keepdims=True)}


def main(folder: Path, data: Path) -> None:
    """Fill the table."""
    run = open_run(folder)
    predictions = read_predictions(folder / "evaluation" / "test" / "predictions.csv")
    evidence = gather_evidence(predictions, run.table(data), run.table(data))
    if isinstance(evidence, str):
        raise SystemExit(evidence)
    beside = list(baselines(evidence))
    rows = [
        f"| classifier | {' | '.join(f'`{label}`' for label in predictions.labels)} | verdict |",
        "|---" * (len(predictions.labels) + 2) + "|",
    ]
    for name, shares in ({"the run": evidence.predictions.probabilities} | cheated(evidence)).items():
        gate = compare_with_baselines(replace(evidence.predictions, probabilities=shares), beside)
        cells = []
        for found in gate.labels.values():
            entry = min(found.baselines, key=lambda entry: entry.difference.low)
            lead = entry.difference
            numbers = f"{lead.value:+.3f} ({lead.low:+.3f} to {lead.high:+.3f})"
            cells.append(f"{found.verdict}: {found.model.value:.3f}, {numbers} over {entry.name}")
        rows.append(f"| {name} | {' | '.join(cells)} | {gate.verdict} |")
    fill("explanation/evaluation.md", {"cheats": "\n".join(rows)})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    given = parser.parse_args()
    main(given.run, given.data)
