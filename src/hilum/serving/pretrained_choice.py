"""Which of the models that come with hilum was trained on images like these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hilum.decision.operating_point import ABSTAIN
from hilum.serving.inputs import Source
from hilum.serving.model_file import OF_CHILDREN, shipped_model, shipped_models
from hilum.serving.prediction import Prediction
from hilum.serving.predictor import Predictor

SAMPLE = 64  # images that are looked at, evenly spread over all


@dataclass(frozen=True)
class Choice:
    """The model that was chosen, and why.

    Attributes:
        name: Of the model.
        predictor: Of that model.
        votes: Number of images that are more in distribution for each model than for the others, by its name; an image
            that is out of distribution for all of them counts for none.
        n_images: Number of images that were looked at and could be read.
    """

    name: str
    predictor: Predictor
    votes: Mapping[str, int]
    n_images: int

    def reason(self) -> str:
        """Why it was chosen, one sentence."""
        if not sum(self.votes.values()):
            return f"model: {self.name}; images out of distribution for all pretrained models; --model names another"
        others = "".join(f" ({other}: {count:,})" for other, count in self.votes.items() if other != self.name)
        of = f"{self.votes[self.name]:,} of {self.n_images:,} image{'' if self.n_images == 1 else 's'}"
        return f"model: {self.name}, whose training images are the nearest to {of}{others}; --model names another"


def choose_pretrained(images: Sequence[Source], *, threads: int | None = None) -> Choice:
    """The pretrained model whose training images these resemble most.

    Of the models that do not abstain on an image, the one with the largest `Prediction.p_in_distribution` counts. This
    p-value means the same for all of them: the share of its own calibration patients who are at least as unlike its
    training images. No label and no probability takes part. All images are answered by one model, so that one
    certificate and one set of labels holds for all answers.

    Args:
        images: One or more; at most `SAMPLE` of them are looked at.
        threads: As `Predictor` takes them.

    Raises:
        ModelFileError: This copy of hilum comes without a model.
    """
    models = shipped_models()
    if len(models) < 2:
        return Choice(OF_CHILDREN, Predictor(shipped_model(), threads=threads), {}, 0)
    predictors = {name: Predictor(file, threads=threads) for name, file in models.items()}
    positions = np.unique(np.linspace(0, len(images) - 1, SAMPLE).round().astype(int))
    sample = [images[position] for position in positions]
    answers = [
        dict(zip(predictors, each, strict=True))
        for each in zip(*(p.predict_many(sample) for p in predictors.values()), strict=True)
    ]
    readable = [each for each in answers if not any(answer.error for answer in each.values())]
    votes = Counter(filter(None, map(_nearest, readable)))
    chosen = max(predictors, key=lambda name: (votes[name], name == OF_CHILDREN))
    return Choice(chosen, predictors[chosen], dict(votes), len(readable))


def _nearest(answers: Mapping[str, Prediction]) -> str:
    """The model that one image is most in distribution for; empty where all abstain."""
    known = {
        name: answer.p_in_distribution
        for name, answer in answers.items()
        if answer.decision != ABSTAIN and answer.p_in_distribution is not None
    }
    return max(known, key=lambda name: known[name], default="")
