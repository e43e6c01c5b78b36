"""Thumbnails must not give the diagnosis away, and must not be pure chance either."""

import csv

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hilum.phantoms import LABELS, write_phantoms


@pytest.mark.slow
def test_a_linear_model_on_thumbnails_does_not_solve_the_task(tmp_path):
    write_phantoms(tmp_path / "set", patients=600, seed=21, masks=False)
    with (tmp_path / "set" / "metadata.csv").open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    thumbnails, labels = [], []
    for row in table:
        with Image.open(tmp_path / "set" / row["path"]) as image:
            thumbnails.append(np.asarray(image.resize((8, 8), Image.Resampling.BOX)).ravel().astype(float))
        labels.append(LABELS.index(row["label"]))
    x, y, train = np.array(thumbnails), np.array(labels), np.array([row["split"] == "train" for row in table])
    best = max(
        make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=3000))
        .fit(x[train], y[train])
        .score(x[~train], y[~train])
        for c in (0.01, 0.1, 1.0)
    )
    assert 0.4 < best < 0.85
