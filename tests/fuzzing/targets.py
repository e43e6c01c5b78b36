"""What hilum does with each kind of input: a result that is sound, or one of hilum's own errors, and nothing else."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from random import Random
from typing import Any, Self

import numpy as np
from PIL import Image

from fuzzing import seeds
from fuzzing.mutation import mutate
from hilum.errors import HilumError, ImageError, LedgerError, ModelFileError, RecipeError, RunError

Run = Callable[[bytes], bool]
"""Takes an input; returns whether it was accepted, False if it was refused as it should be."""


def image(content: bytes) -> bool:
    """One image or DICOM object, decoded and made ready for the network."""
    from hilum.data.images import read_radiograph, reduce

    refused = ""
    try:
        picture, notes = read_radiograph(content, "file")
    except ImageError as error:
        refused = str(error)
    assert not any(secret in refused for secret in seeds.SECRETS), "a patient's name in a message"
    if refused:
        return False
    assert picture.pixels.ndim == 2
    assert np.isfinite(picture.pixels).all()
    assert 0 <= picture.pixels.min() <= picture.pixels.max() <= 1
    assert not any(secret in note for secret in seeds.SECRETS for note in notes), "a patient's name in a note"
    assert reduce(picture.pixels, size=32, fit="stretch", equalise=True).shape == (32, 32)
    return True


@contextmanager
def table() -> Iterator[Run]:
    """Tables of labels beside six images."""
    from hilum.data.readers.read import read_table

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for n, letter in enumerate("abcdef"):
            Image.new("L", (40, 40), 20 * n).save(folder / f"{letter}.png")

        def run(content: bytes) -> bool:
            table = content[:1] == b"1"
            file = folder / ("labels.tsv" if b"\t" in content[:80] else "metadata.csv")
            file.write_bytes(content[1:])
            try:
                found = read_table(file if table else folder)
            except HilumError:
                return False
            finally:
                file.unlink()
            assert all(row.label for row in found.rows)
            return True

        yield run


@contextmanager
def predictions() -> Iterator[Run]:
    """Tables of probabilities."""
    from hilum.evaluation.predictions import read_predictions

    with _file("predictions.csv") as file:

        def run(content: bytes) -> bool:
            file.write_bytes(content)
            try:
                found = read_predictions(file)
            except RunError:
                return False
            assert np.allclose(found.probabilities.sum(axis=1), 1, atol=1e-3)
            return True

        yield run


@contextmanager
def recipe() -> Iterator[Run]:
    """Recipes."""
    from hilum.training.recipe import load_recipe

    with _file("recipe.toml") as file:

        def run(content: bytes) -> bool:
            file.write_bytes(content)
            try:
                found = load_recipe(file)
            except RecipeError:
                return False
            file.write_text(found.to_toml())
            assert load_recipe(file) == found  # what is written down is what was read
            return True

        yield run


@contextmanager
def model() -> Iterator[Run]:
    """Model files whose checksum is right: the metadata are anything, the network is sound."""
    from crafted_models import assembled, network
    from hilum.serving.predictor import Predictor

    sound = network().SerializeToString()
    pixels = np.add.outer(np.arange(40), np.arange(50)).astype(np.uint8)

    def run(content: bytes) -> bool:
        try:
            answer = Predictor(assembled(content, sound)).predict(pixels)
        except ModelFileError:
            return False
        found = list(answer.probabilities.values())
        assert np.isfinite(found).all()
        assert abs(sum(found) - 1) < 1e-3
        json.dumps(answer.to_json({"name": "m", "sha256": "0"}), allow_nan=False)
        return True

    yield run


@contextmanager
def model_file() -> Iterator[Run]:
    """Model files of any bytes: without the right checksum, none is taken."""
    from hilum.serving.model_file import open_model_file

    def run(content: bytes) -> bool:
        try:
            open_model_file(content)
        except ModelFileError:
            return False
        return True

    yield run


@contextmanager
def ledger() -> Iterator[Run]:
    """Ledgers."""
    from hilum.evaluation.ledger import read_ledger

    with _file("ledger.jsonl") as file:

        def run(content: bytes) -> bool:
            file.write_bytes(content)
            try:
                found = read_ledger(file)
            except LedgerError:
                return False
            texts = [json.dumps(entry.written(), sort_keys=True, separators=(",", ":")) for entry in found.entries]
            assert content == "".join(f"{text}\n" for text in texts).encode()  # nothing is in it that was not read
            return True

        yield run


class CacheTarget:
    """A cache of six images whose record is anything: the images that come from it are always the right ones."""

    def __init__(self) -> None:
        from hilum.data.cache import open_images
        from hilum.data.cache_files import write_record
        from hilum.data.preprocessing import Preprocessing
        from hilum.data.readers.read import read_table

        self.held = tempfile.TemporaryDirectory()
        root, self.cache = Path(self.held.name, "data"), Path(self.held.name, "cache")
        for n in range(6):
            folder = root / ("normal" if n % 2 else "covid")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.add.outer(np.arange(40), (n + 1) * np.arange(40)).astype(np.uint8)).save(
                folder / f"{n}.png"
            )
        (root / "normal" / "7.png").write_bytes(b"damaged")
        found = read_table(root)
        self.open = lambda: open_images(found, Preprocessing(size=32), folder=self.cache)
        self.right = self._seen()
        (self.record,) = self.cache.glob("*.json")
        self.write_record = write_record
        self._date()

    def _date(self) -> None:
        """Give the arrays an age that is always the same, so that the record of one cache fits another."""
        arrays = (self.record.with_suffix(".npy"), self.record.with_name(f"{self.record.stem}-64.npy"))
        for array in arrays:
            os.utime(array, (0, 0))
        self.write_record(arrays, {6: "damaged"}, [])

    def _seen(self) -> tuple[list[str], bytes]:
        images = self.open()
        return [row.path for row in images.table.rows], images.pixels[images.positions].tobytes()

    def __call__(self, content: bytes) -> bool:
        self.record.write_bytes(content)
        assert self._seen() == self.right
        if self.record.read_bytes() == content:
            return True
        self._date()
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.held.cleanup()


@contextmanager
def _file(name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / name


@contextmanager
def _plain(run: Run) -> Iterator[Run]:
    yield run


def as_json(content: bytes, others: list[bytes], random: Random) -> bytes:
    """Change values of a JSON object, or its bytes."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return mutate(content, others, random)
    if random.random() < 0.3 or not isinstance(values, dict) or not values:
        return mutate(content, others, random)
    _change(values, random)
    return json.dumps(values).encode()


STRANGE: list[Any] = [
    *(
        None,
        "",
        "x",
        -1,
        0,
        1,
        1.5,
        1e308,
        10**30,
        10**400,
        True,
        [],
        {},
        [None],
        [[]],
        {"x": None},
        "\ud800",
        "\x1b[2J",
    ),
    *(float("nan"), float("inf"), "../../x", "a" * 5000, ["normal"], ["bad", "bad"], {"bad": "bad"}, [0.5] * 3),
]


def _change(values: Any, random: Random) -> None:
    place = random.choice(list(values) if isinstance(values, dict) else range(len(values)))
    if isinstance(values[place], dict | list) and values[place] and random.random() < 0.6:
        _change(values[place], random)
    elif isinstance(values, dict) and random.random() < 0.1:
        del values[place]
    else:
        values[place] = random.choice(STRANGE)


TARGETS: dict[str, tuple[Callable[[], AbstractContextManager[Run]], Callable[[], list[bytes]], Any]] = {
    "image": (lambda: _plain(image), seeds.images, mutate),
    "dicom": (lambda: _plain(image), seeds.dicom, mutate),
    "table": (table, seeds.tables, mutate),
    "predictions": (predictions, seeds.predictions, mutate),
    "recipe": (recipe, seeds.recipes, mutate),
    "model": (model, seeds.models, as_json),
    "model-file": (model_file, lambda: [_model_file()], mutate),
    "ledger": (ledger, seeds.ledgers, mutate),
    "cache": (CacheTarget, seeds.records, as_json),
}
CORPUS = Path(__file__).resolve().parents[1] / "corpus"


def _model_file() -> bytes:
    from crafted_models import assembled, facts, network

    return assembled(facts(), network())


def corpus(name: str) -> list[Path]:
    """Inputs of a target that were worth keeping: what was once answered wrongly."""
    return sorted(file for file in (CORPUS / name).glob("*") if file.is_file())
