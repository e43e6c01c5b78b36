"""One decision about all images of a study or patient, by the rule that the certificate speaks about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from hilum.decision.operating_point import ABSTAIN, CLEAR, READ, UNDECIDED, triage_together
from hilum.serving.inputs import Source
from hilum.serving.model_file import Bundle
from hilum.serving.prediction import UNCERTIFIED, Answer, place, score_of
from hilum.serving.predictor import Predictor

MISSING = "belongs to the study, but is not among the images that were given"
RARE = 0.1  # of the calibration patients: with fewer that had so few images, the mix says little of such a study


@dataclass(frozen=True, slots=True)
class Study:
    """The decision about a study, and the answers about its images.

    Attributes:
        name: Of the study or patient.
        images: Answers about its images, in their order; those that could not be read have an ``error``.
        decision: ``flag`` if one image is flagged; ``clear`` only if every image is cleared; else ``abstain`` or
            ``read``; ``undecided`` where the bundle has no operating point.
        reason: Of the decision, one sentence.
        score: Largest summed probability of what must not be missed; None where no image could be read.
        notes: What has to be known besides.
        top: The readable image with the largest score; None where there is none.
    """

    name: str
    images: tuple[Answer, ...]
    decision: str
    reason: str
    score: float | None
    notes: tuple[str, ...] = ()
    top: Answer | None = field(default=None, repr=False)

    @property
    def unreadable(self) -> int:
        """Number of images that could not be read, or were not given."""
        return sum(bool(answer.error) for answer in self.images)

    def to_json(self, model: Mapping[str, str]) -> dict[str, Any]:
        """The object of one line of ``hilum predict --study HOW --json``.

        Args:
            model: ``name`` and ``sha256`` of the bundle.
        """
        images = [answer.to_json(model) for answer in self.images]
        return {
            "study": self.name,
            "decision": self.decision,
            "reason": self.reason,
            "score": self.score,
            "n_images": len(self.images),
            "n_unreadable": self.unreadable,
            "notes": list(self.notes),
            "images": [{key: value for key, value in image.items() if key != "model"} for image in images],
            "model": dict(model),
        }

    def as_answer(self) -> Answer:
        """The study as one answer: that of the image with the largest score, with the study's decision."""
        if self.top is None:
            return Answer("", decision=self.decision, reason=self.reason, notes=self.notes, error=self.reason)
        top = self.top
        return Answer(top.path, top.label, top.display, top.probabilities, self.decision, self.reason, self.notes)


def predict_studies(
    predictor: Predictor,
    studies: Mapping[str, Sequence[Source]],
    missing: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[Study]:
    """Decide about studies one by one, in their order; memory does not grow with their number.

    Args:
        predictor: Who answers about their images.
        studies: Images of each, one or more, by its name.
        missing: Names of images that belong to a study and were not given, by its name: it cannot be cleared.
    """
    answers = predictor.predict_many((source for sources in studies.values() for source in sources), of_study=True)
    for name, sources in studies.items():
        absent = (Answer(path, error=MISSING) for path in (missing or {}).get(name, ()))
        yield judge_study(predictor.bundle, name, (*islice(answers, len(sources)), *absent))


def judge_study(bundle: Bundle, name: str, images: Sequence[Answer]) -> Study:
    """Put the answers about the images of one study together.

    Args:
        bundle: Whose answers they are.
        name: Of the study.
        images: One answer or more, made with the thresholds of a study.
    """
    readable = [answer for answer in images if not answer.error]
    decision = triage_together((answer.decision for answer in readable), len(images) - len(readable))
    if not readable:
        decision = READ if bundle.point else UNDECIDED
        return Study(name, tuple(images), decision, f"none of {_count(len(images))} could be read", None)
    scores = [score_of(bundle, answer.probabilities) for answer in readable]
    highest = max(scores)
    top = readable[scores.index(highest)]
    reason = _reason(bundle, decision, images, highest)
    return Study(name, tuple(images), decision, reason, highest, _notes(bundle, images), top)


def _reason(bundle: Bundle, decision: str, images: Sequence[Answer], highest: float) -> str:
    if decision == ABSTAIN:
        unlike = [answer for answer in images if answer.decision == ABSTAIN]
        return f"{len(unlike)} of {_count(len(images))} abstained on: {unlike[0].reason}"
    if bundle.point is None:
        return UNCERTIFIED
    where = f"{bundle.group} {bundle.percent(highest)}, {place(bundle, bundle.point, highest)}"
    told = where if len(images) == 1 else f"largest of {_count(len(images))}: {where}"
    if decision == READ and (bad := sum(bool(answer.error) for answer in images)):
        return f"{told}; {bad} of {_count(len(images))} could not be read, so that nothing is ruled out"
    if decision != CLEAR:  # the flagged image is not always the one with the largest score: that may be abstained on
        flagged = [score_of(bundle, answer.probabilities) for answer in images if answer.decision == decision]
        if flagged and max(flagged) < highest:
            here = f"{bundle.group} {bundle.percent(max(flagged))}, {place(bundle, bundle.point, max(flagged))}"
            return f"of {_count(len(images))} the largest not abstained on: {here}"
    return told


def _notes(bundle: Bundle, images: Sequence[Answer]) -> tuple[str, ...]:
    """Notes on the images, each once; and whether the calibration patients had so many images."""
    notes = list(dict.fromkeys(note for answer in images for note in answer.notes))
    counted = (bundle.facts.get("certificate") or {}).get("images") or {}
    patients = {int(size): number for size, number in counted.get("distribution", {}).items()}
    if not patients:
        return tuple(notes)
    fewer = sum(number for size, number in patients.items() if size <= len(images))
    told = f"of {sum(patients.values())} calibration patients {fewer} had so few"
    if len(images) > max(patients):
        notes.append(
            f"{_count(len(images))}, more than any calibration patient had ({max(patients)}): its largest score is "
            "flagged or read more often than stated."
        )
    if fewer < RARE * sum(patients.values()):
        notes.append(
            f"{_count(len(images))}, and {told}: its largest score is cleared more often than stated, and the "
            "sensitivity is not guaranteed."
        )
    return tuple(notes)


def _count(images: int) -> str:
    return f"{images:,} image{'' if images == 1 else 's'}"
