"""Which of the models that come with hilum was trained on images like these."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from math import isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hilum.errors import ExtraError, ImageError
from hilum.serving.inputs import read_source
from hilum.serving.model_file import OF_CHILDREN, shipped_model, shipped_models
from hilum.serving.predictor import Likeness, Predictor
from hilum.serving.session import CHUNK

SAMPLE = 64  # images that are looked at
MOST_TRIED = 1024  # files that are tried, where many cannot be read
MIXED = 0.1  # share of images nearest to another model from which on there is a warning


@dataclass(frozen=True)
class Choice:
    """The model that was chosen, and why.

    Attributes:
        name: Of the model.
        predictor: Of that model.
        votes: Number of images to which each model is nearest, by its name; an image that all would abstain on counts
            for none.
        n_images: Number of images that were looked at.
    """

    name: str
    predictor: Predictor
    votes: Mapping[str, int]
    n_images: int

    def reason(self) -> str:
        """Why it was chosen, in one line; a warning where many images are nearer to another model."""
        other = "To use another: --model NAME"
        if not sum(self.votes.values()):
            return f"model: {self.name}; no pretrained model is in distribution for these images. {other}"
        of = f"{self.n_images:,} image{'' if self.n_images == 1 else 's'}"
        rest = [f"{count:,} are nearer to {name}" for name, count in self.votes.items() if name != self.name]
        mixed = sum(self.votes.values()) - self.votes[self.name] > MIXED * self.n_images
        warning = f". WARNING: {' and '.join(rest)}; predict these separately" if mixed else ""
        return f"model: {self.name}, the nearest to {self.votes[self.name]:,} of {of}{warning}. {other}"


def choose_pretrained(files: Sequence[Path], *, threads: int | None = None) -> Choice:
    """The pretrained model whose training images are the nearest to these.

    Of the models that are in distribution for an image, the one with the largest p-value counts. These are conformal
    p-values (`hilum.decision.ood`), and so comparable between models: at most a share a of a model's own patients has a
    value of a or less. No label and no probability takes part. All images are answered by one model, so that one
    certificate and one set of labels holds for all answers.

    Args:
        files: One or more. `SAMPLE` of them that can be read are looked at, in the order of the hashes of their names:
            neither the order of the files nor a pattern in their names matters.
        threads: As `Predictor` takes them.

    Raises:
        ModelFileError: This copy of hilum comes without a model.
    """
    predictors = {name: Predictor(file, threads=threads) for name, file in shipped_models().items()}
    if len(predictors) < 2:
        name = next(iter(predictors), OF_CHILDREN)
        return Choice(name, predictors.get(name) or Predictor(shipped_model()), {}, 0)
    votes: Counter[str] = Counter()
    looked_at = 0
    pixels = _reduced(sorted(files, key=_hash)[:MOST_TRIED], list(predictors.values()))
    while chunk := list(islice(pixels, min(CHUNK, SAMPLE - looked_at))):
        looked_at += len(chunk)
        judged = [
            one.judge(np.stack(own)) for one, own in zip(predictors.values(), zip(*chunk, strict=True), strict=True)
        ]
        for each in zip(*judged, strict=True):
            votes[nearest({name: likeness for name, (_, likeness) in zip(predictors, each, strict=True)})] += 1
    del votes[""]
    chosen = max(predictors, key=lambda name: (votes[name], name == OF_CHILDREN))
    return Choice(chosen, predictors[chosen], dict(votes), looked_at)


def _hash(file: Path) -> bytes:
    return hashlib.sha256(os.fsencode(file)).digest()


def _reduced(files: Sequence[Path], predictors: Sequence[Predictor]) -> Iterator[list[NDArray[np.uint8]]]:
    """The input of each model for each file that can be read; every file is decoded once."""

    def read(file: Path) -> list[NDArray[np.uint8]] | None:
        try:
            picture, _ = read_source(file, str(file))
        except (ImageError, ExtraError):
            return None
        return [one.model_file.reduce(picture.pixels) for one in predictors]

    threads = predictors[0].threads
    with ThreadPoolExecutor(threads, thread_name_prefix="hilum-choice") as pool:
        for start in range(0, len(files), threads):
            yield from (found for found in pool.map(read, files[start : start + threads]) if found)


def nearest(answers: Mapping[str, Likeness | None]) -> str:
    """The model that one image is most in distribution for; empty where it is out of distribution for all.

    Args:
        answers: How the models compare the image with their training images, by name.
    """
    known = {
        name: found.p_value for name, found in answers.items() if found and not found.reason and isfinite(found.p_value)
    }
    return max(known, key=lambda name: known[name], default="")
