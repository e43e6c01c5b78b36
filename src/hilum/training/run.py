"""The run folder: what a training leaves behind, and how the later stages open it."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hilum.data.dataset import Dataset, Row, pack, read_csv, write_csv
from hilum.data.labels import default_positive, is_healthy, last_component
from hilum.data.options import ReadOptions
from hilum.data.preprocessing import Preprocessing, Stacked
from hilum.earlier import KEYS, current
from hilum.errors import RecipeError, RunError
from hilum.files import STEP, open_regular, open_text, read_text, save_json, save_text, saving
from hilum.stats.records import Record, first_problem
from hilum.training.environment import Environment
from hilum.training.recipe import Recipe, load_recipe

HISTORY = ("epoch", "step", "train_loss", "val_loss", "val_accuracy", "lr", "seconds", "val_false_negatives")
OF_FINDINGS = ("val_auroc",)  # further columns where an image may have several findings
RECIPE, ENVIRONMENT, SPLIT, HISTORY_FILE = "recipe.toml", "environment.json", "split.csv", "history.csv"
ENCODER_FILE = "encoder.onnx"
UNREADABLE = "unreadable"
# Runs of hilum 0.1.0 do not say in which order their labels are, and which one is positive: these names decided.
EARLIER_HEALTHY = ("normal", "healthy", "no finding", "no-finding", "no_finding", "negative")
EARLIER_COVID = ("covid", "covid-19", "covid19", "covid_19")


@dataclass(frozen=True)
class Run:
    """A run folder.

    Args:
        path: The folder; its existence is not checked here (see `open_run`).
    """

    path: Path

    @property
    def name(self) -> str:
        """The folder's name, or that of the one around it where the name says nothing."""
        folder = self.path.resolve()
        return folder.parent.name if folder.name == "run" else folder.name

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe.

        Raises:
            RunError: It is not the one of the training: half a recipe is one, too, and others' defaults fill it up.
            RecipeError: It cannot be read.
        """
        self._check_named(RECIPE)
        return load_recipe(self.path / RECIPE)

    @property
    def preprocessing(self) -> Preprocessing:
        """How images become what the network takes: the recipe's, or those of all its members."""
        members = self.recipe.members
        return Stacked.of([member.preprocessing for member in members]) if members else self.recipe.preprocessing

    @cached_property
    def environment(self) -> Environment:
        """Machine, versions, data and outcome."""
        file = self.path / ENVIRONMENT
        try:
            return Environment.model_validate(current(json.loads(read_text(file))))
        except (OSError, ValueError, RecursionError) as error:
            why = first_problem(error) if isinstance(error, ValidationError) else error
            msg = f"{file}: cannot be read ({why}). Use another copy of the run, or train again."
            raise RunError(msg, code="unreadable", path=file) from error

    @property
    def _kept(self) -> Environment:
        """What the training wrote down; empty where that cannot be read."""
        try:
            return self.environment
        except RunError:
            return Environment()

    @property
    def read_options(self) -> ReadOptions:
        """How the dataset was read."""
        return self.environment.data.read

    @property
    def finished(self) -> bool:
        """Whether the training came to its end."""
        return bool(self.environment.weights_sha256)

    @property
    def best(self) -> Path:
        """The checkpoint that validation chose."""
        return self.path / "checkpoints" / "best.safetensors"

    @property
    def last(self) -> Path:
        """The checkpoint from which a training continues."""
        return self.path / "checkpoints" / "last.safetensors"

    @property
    def encoder_file(self) -> Path:
        """The frozen encoder, where the run has one.

        Raises:
            RunError: It is not the one of the training.
        """
        if (self.path / ENCODER_FILE).is_file():
            self._check_named(ENCODER_FILE)
        return self.path / ENCODER_FILE

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels in the order of the network's outputs, as the training wrote it down."""
        kept = self._kept.labels
        return tuple(kept) if kept else _earlier_order(self)

    @property
    def findings(self) -> tuple[str, ...]:
        """The findings in the order of the network's outputs; empty where labels are exclusive."""
        return self.labels if self._kept.task == "findings" else ()

    @property
    def structure(self) -> str:
        """What the network tells apart: ``findings``, or labels in a ``flat`` or ``cascade`` hierarchy."""
        return "findings" if self.findings else self.recipe.hierarchy

    @property
    def positive_label(self) -> str | None:
        """The positive label, which must not be missed."""
        if self._kept.labels:
            return self._kept.positive_label
        labels = self.labels
        earlier = next((label for label in labels if last_component(label).lower() in EARLIER_COVID), None)
        return earlier if self.recipe.positive_label == "auto" else resolve_positive_label(self.recipe, labels)

    @property
    def healthy(self) -> tuple[str, ...]:
        """The labels that mean that nothing was found; empty where none is known."""
        kept = self._kept.healthy
        return tuple(kept) if kept is not None else resolve_healthy(self.recipe, self.labels, self.positive_label)

    @property
    def rows(self) -> Sequence[Row]:
        """All rows of ``split.csv``, in the dataset's order, with the hashes that the files had in the training.

        Raises:
            RunError: The file is not the one of the training, or cannot be read.
        """
        return self._split[1]

    @property
    def keeps_columns(self) -> bool:
        """Whether ``split.csv`` holds the dataset's further columns; those of versions before do not."""
        return "source" in self._split[0]

    @cached_property
    def _split(self) -> tuple[tuple[str, ...], Sequence[Row]]:
        try:
            self._check_named(SPLIT)
            return read_csv(self.path / SPLIT)
        except (OSError, ValueError, csv.Error) as error:
            msg = f"{self.path / SPLIT}: cannot be read ({error}). Train again."
            raise RunError(msg) from error

    def table(self, root: Path | None = None) -> Dataset:
        """The dataset as it was split for this run, to be hashed anew.

        Args:
            root: Folder in which it lies now, if it has moved.
        """
        rows = (replace(row, sha256="") for row in self.rows)
        return Dataset(root or Path(self.environment.data.root), pack(rows), findings=self.findings)

    def history(self) -> list[dict[str, float]]:
        """One row a validation.

        Raises:
            RunError: The file is not the one with which the training ended, or cannot be read.
        """
        path = self.path / HISTORY_FILE
        if not path.exists():
            return []
        try:
            self._check_named(HISTORY_FILE)
            with open_text(path) as file:
                return [
                    {KEYS.get(key, key): float(value) for key, value in row.items()} for row in csv.DictReader(file)
                ]
        except (OSError, ValueError, TypeError, csv.Error) as error:
            msg = f"{path}: cannot be read ({error}). Take another copy of the run."
            raise RunError(msg) from error

    def hashes(self, *names: str) -> dict[str, str]:
        """SHA-256 of files of the run by name, so that `environment` can name those that belong to it."""
        found = {}
        for name in names:
            digest = hashlib.sha256()
            with open_regular(self.path / name) as file:
                while block := file.read(STEP):
                    digest.update(block)
            found[name] = digest.hexdigest()
        return found

    def _check_named(self, name: str) -> None:
        """Find a file that was cut, or comes from another run; versions before named none."""
        named = self._kept.files.get(name)
        if named and self.hashes(name)[name] != named:
            msg = (
                f"{self.path / name}: not the file that {ENVIRONMENT} names: cut, changed, or from another run. Take "
                "another copy of the run, or train again."
            )
            raise RunError(msg, code="other-file", path=self.path / name)

    def evaluations(self) -> list[Path]:
        """Folders below ``evaluation`` that hold a ``metrics.json``."""
        return sorted(path.parent for path in (self.path / "evaluation").glob("*/metrics.json"))

    def write_recipe(self, recipe: Recipe) -> None:
        """Write ``recipe.toml``: with it a run has begun."""
        save_text(self.path / RECIPE, recipe.to_toml())

    def write_table(self, table: Dataset) -> None:
        """Write ``split.csv``, with every column."""
        write_csv(self.path / SPLIT, table.rows)
        self._forget("_split", "labels")

    def write_history(self, rows: list[dict[str, float]]) -> None:
        """Write ``history.csv``."""
        with saving(self.path / HISTORY_FILE, text=True) as file:
            writer = csv.DictWriter(file, [*HISTORY, *(name for name in OF_FINDINGS if rows and name in rows[0])])
            writer.writeheader()
            writer.writerows(rows)

    def write_environment(self, environment: Record) -> None:
        """Write ``environment.json``."""
        save_json(self.path / ENVIRONMENT, environment.as_json())
        self._forget("environment", "labels")

    def _forget(self, *names: str) -> None:
        for name in names:
            self.__dict__.pop(name, None)


def read_json(file: Path, *, as_written: bool = False) -> dict[str, Any]:
    """A JSON object; empty where it is missing or damaged: what it would say has to be found anew.

    Args:
        file: The file.
        as_written: Under the keys that the file has, which its checksum covers, rather than those of today.
    """
    try:
        found = json.loads(read_text(file))
        found = found if as_written else current(found)
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def check_place(out: Path) -> None:
    """Find before any work what would prevent a folder from being made.

    Raises:
        RunError: Something else is there, or nothing may be written.
    """
    parent = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        msg = f"{out}: {parent} is {'a file' if parent.is_file() else 'not writable'}. Choose another --out."
        raise RunError(msg, code="unusable", path=out)


def _earlier_order(run: Run) -> tuple[str, ...]:
    labels = {row.label for row in run.rows if row.split == "train"}
    return tuple(sorted(labels, key=lambda label: (last_component(label).lower() not in EARLIER_HEALTHY, label)))


def resolve_positive_label(recipe: Recipe, labels: Sequence[str]) -> str | None:
    """The positive label of a recipe for these labels.

    Raises:
        RecipeError: The recipe names a label that does not exist.
    """
    if recipe.positive_label == "none":
        return None
    return (
        default_positive(labels)
        if recipe.positive_label == "auto"
        else _named("positive_label", recipe.positive_label, labels)
    )


def resolve_healthy(recipe: Recipe, labels: Sequence[str], positive_label: str | None) -> tuple[str, ...]:
    """The labels of these that mean that nothing was found; empty where none is known.

    Raises:
        RecipeError: The recipe names a label that does not exist, or that is the positive one.
    """
    if recipe.healthy == "none":
        return ()
    if recipe.healthy == "auto":
        return tuple(label for label in labels if is_healthy(label) and label != positive_label)
    if recipe.healthy == positive_label:
        msg = f"healthy = '{recipe.healthy}' is also the positive label. Correct one of the two in the recipe."
        raise RecipeError(msg)
    return (_named("healthy", recipe.healthy, labels),)


def _named(key: str, label: str, labels: Sequence[str]) -> str:
    if label not in labels:
        msg = f"{key} = '{label}' is not a label of the data ({', '.join(labels)}). Correct the recipe."
        raise RecipeError(msg, code="no-such-label")
    return label


def open_run(path: Path) -> Run:
    """Open a run folder.

    Raises:
        RunError: There is none.
    """
    if not (path / RECIPE).is_file():
        inside = [*path.glob("*/recipe.toml"), *path.glob("trials/*/recipe.toml")]
        if inside:
            msg = f"{path}: holds {len(inside)} runs, but is not a run. Name one of them, such as {min(inside).parent}."
            raise RunError(msg, code="several-runs", path=path)
        remedy = f"Create one with: hilum train DATA --out {path}"
        if path.exists():  # somebody's data, perhaps
            remedy = "Create one with: hilum train DATA --out RUN"
        if path.suffix.lower() == ".onnx":
            remedy = f"A model file is not a run; evaluate it with: hilum evaluate DATA --model {path}"
        elif path.is_file():
            remedy = f"If it holds predictions, evaluate it with: hilum evaluate --predictions {path}"
        what = "no such folder" if not path.exists() else "not a run (it has no recipe.toml)"
        raise RunError(f"{path}: {what}. {remedy}", code="no-run", path=path)  # noqa: EM102
    return Run(path)
