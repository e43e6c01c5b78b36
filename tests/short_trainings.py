"""Trainings of seconds, and runs as if a training had been interrupted."""

import json

from hilum.progress import Progress
from hilum.training.recipe import load_recipe

TINY = [
    "network.options.width=4",
    "network.options.blocks=[1, 1]",
    "preprocessing.size=32",
    "epochs=3",
    "batch_size=8",
    "lr=0.01",
    "keep_from=0",
]


def tiny(*settings):
    return load_recipe("compact", [*TINY, *settings])


class Collected(Progress):
    """What was said, line by line."""

    def __init__(self):
        self.lines = []

    def line(self, text):
        self.lines.append(text)


def forget(run, *keys):
    kept = json.loads((run.path / "environment.json").read_text())
    (run.path / "environment.json").write_text(json.dumps({key: kept[key] for key in kept if key not in keys}))
    run._forget("environment", "labels")


def make_unfinished(run):
    """As if the training had been interrupted: what its end adds is gone."""
    forget(run, "weights_sha256")
