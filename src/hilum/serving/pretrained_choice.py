"""Which of the models that come with hilum was trained on images like these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hilum.decision.operating_point import ABSTAIN
from hilum.serving.inputs import Source
from hilum.serving.model_file import OF_CHILDREN, ModelFile, shipped_model, shipped_models
from hilum.serving.prediction import Prediction
from hilum.serving.predictor import Predictor

SAMPLE = 64  # images that are looked at, evenly spread over all


@dataclass(frozen=True)
class Choice:
    """The model that was chosen, and why.

    Attributes:
        name: Of the model.
        predictor: Of that model.
        votes: Number of images to which each model is nearest, by its name; an image that all abstain on counts for
            none.
        n_images: Number of images that were looked at and could be read.
    """

    name: str
    predictor: Predictor
    votes: Mapping[str, int]
    n_images: int

    def reason(self) -> str:
        """Why it was chosen, in one line."""
        other = "To use another: --model NAME"
        if not sum(self.votes.values()):
            return f"model: {self.name}; all pretrained models abstain on these images. {other}"
        counts = [f"{name} {count:,}" for name, count in self.votes.items() if name != self.name]
        of = f"{self.votes[self.name]:,} of {self.n_images:,} image{'' if self.n_images == 1 else 's'}"
        return f"model: {self.name}, the nearest to {of}{''.join(f' ({count})' for count in counts)}. {other}"


def choose_pretrained(
    images: Sequence[Source], *, suits: Callable[[ModelFile], bool] | None = None, threads: int | None = None
) -> Choice:
    """The pretrained model whose training images are the nearest to these.

    Of the models that do not abstain on an image, the one with the largest `Prediction.p_in_distribution` counts. These
    are conformal p-values, and so comparable between models: at most a share a of a model's own patients has a value of
    a or less. No label and no probability takes part. All images are answered by one model, so that one certificate
    and one set of labels holds for all answers.

    Args:
        images: One or more; at most `SAMPLE` of them are looked at.
        suits: Which models can do what is asked; by default all. Where none can, all are compared.
        threads: As `Predictor` takes them.

    Raises:
        ModelFileError: This copy of hilum comes without a model.
    """
    predictors = {name: Predictor(file, threads=threads) for name, file in shipped_models().items()}
    suitable = {name: one for name, one in predictors.items() if suits is None or suits(one.model_file)}
    predictors = suitable or predictors
    if len(predictors) < 2:
        name = next(iter(predictors), OF_CHILDREN)
        return Choice(name, predictors.get(name) or Predictor(shipped_model()), {}, 0)
    positions = np.unique(np.linspace(0, len(images) - 1, SAMPLE).round().astype(int))
    sample = [images[position] for position in positions]
    of_models = [list(predictor.predict_many(sample)) for predictor in predictors.values()]
    answers = [dict(zip(predictors, each, strict=True)) for each in zip(*of_models, strict=True)]
    readable = [each for each in answers if not any(answer.error for answer in each.values())]
    votes = Counter(filter(None, map(nearest, readable)))
    chosen = max(predictors, key=lambda name: (votes[name], name == OF_CHILDREN))
    return Choice(chosen, predictors[chosen], dict(votes), len(readable))


def nearest(answers: Mapping[str, Prediction]) -> str:
    """The model that one image is most in distribution for; empty where all abstain.

    Args:
        answers: About the image, by the model's name.
    """
    known = {
        name: answer.p_in_distribution
        for name, answer in answers.items()
        if answer.decision != ABSTAIN and answer.p_in_distribution is not None
    }
    return max(known, key=lambda name: known[name], default="")
