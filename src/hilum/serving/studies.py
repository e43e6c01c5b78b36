"""One decision about all images of a study or patient, by the rule that the certificate speaks about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Self

from hilum.decision.operating_point import ABSTAIN, CLEAR, READ, UNDECIDED, triage_together
from hilum.serving.finding_decisions import image_decision, likely_findings, likely_names, study_findings
from hilum.serving.inputs import Source
from hilum.serving.model_file import ModelFile
from hilum.serving.prediction import UNCERTIFIED, FindingAnswer, Prediction, StudyLine, place, score_of
from hilum.serving.predictor import Predictor

MISSING = "belongs to the study, but was not among the given images"
RARE = 0.1  # of the calibration patients: with fewer that had so few images, the mix says little of such a study


@dataclass(frozen=True, slots=True)
class StudyPrediction:
    """The decision about a study, and the answers about its images.

    Attributes:
        name: Of the study or patient.
        images: Answers about its images, in their order; those that could not be read have an ``error``.
        decision: ``flag`` if one image is flagged; ``clear`` only if every image is cleared; else ``abstain`` or
            ``read``; ``undecided`` where the model file has no operating point.
        reason: Of the decision, one sentence.
        score: Largest summed probability of what must not be missed; None where no image could be read.
        notes: What has to be known besides.
        top: The readable image with the largest score; None where there is none.
        findings: What is said of each finding, where an image may have several; else empty.
    """

    name: str
    images: tuple[Prediction, ...]
    decision: str
    reason: str
    score: float | None
    notes: tuple[str, ...] = ()
    top: Prediction | None = field(default=None, repr=False)
    findings: Mapping[str, FindingAnswer] = field(default_factory=dict)

    @property
    def unreadable(self) -> int:
        """Number of images that could not be read, or were not given."""
        return sum(bool(answer.error) for answer in self.images)

    def to_json(self, model: Mapping[str, str]) -> StudyLine:
        """The object of one line of ``hilum predict --study HOW --json``.

        Args:
            model: ``name`` and ``sha256`` of the model file.
        """
        images = [answer.to_json(model) for answer in self.images]
        for image in images:
            del image["model"], image["schema_version"]
        line: StudyLine = {
            "study": self.name,
            "decision": self.decision,
            "reason": self.reason,
            "score": self.score,
            "n_images": len(self.images),
            "n_unreadable": self.unreadable,
            "notes": list(self.notes),
            "images": images,
            "model": {"name": model["name"], "sha256": model["sha256"]},
            "schema_version": 1,
        }
        if self.findings:
            line["findings"] = {name: found.to_json() for name, found in self.findings.items()}
        return line

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Self:
        """A study from the object of one line, also of version 0.1; which image decided is not in it.

        Raises:
            ValueError: It is no line of ``hilum predict --study HOW --json``.
        """
        try:
            images = tuple(map(Prediction.from_json, line["images"]))
            notes = tuple(line.get("notes", ()))
            findings = {name: FindingAnswer(**answer) for name, answer in line.get("findings", {}).items()}
            return cls(line["study"], images, line["decision"], line["reason"], line["score"], notes, findings=findings)
        except (KeyError, TypeError) as error:
            msg = f"not a line of hilum predict --study --json ({error})"
            raise ValueError(msg) from error

    def as_answer(self, model_file: ModelFile) -> Prediction:
        """The study as one answer: that of the image with the largest score, with the study's decision."""
        if self.top is None:
            return Prediction("", decision=self.decision, reason=self.reason, notes=self.notes, error=self.reason)
        answer = replace(self.top, decision=self.decision, reason=self.reason, notes=self.notes, p_in_distribution=None)
        if not self.findings:
            return answer
        shares = {name: found.probability for name, found in self.findings.items()}
        label = likely_findings(shares)
        names = likely_names(model_file, label)
        return replace(answer, findings=self.findings, probabilities=shares, label=label, label_name=names)


def predict_studies(
    predictor: Predictor,
    studies: Mapping[str, Sequence[Source]],
    missing: Mapping[str, Sequence[str]] | None = None,
) -> Iterator[StudyPrediction]:
    """Decide about studies one by one, in their order; memory does not grow with their number.

    Args:
        predictor: Who answers about their images.
        studies: Images of each, one or more, by its name.
        missing: Names of images that belong to a study and were not given, by its name: it cannot be cleared.
    """
    answers = predictor.predict_many((source for sources in studies.values() for source in sources), of_study=True)
    for name, sources in studies.items():
        absent = (Prediction(path, error=MISSING) for path in (missing or {}).get(name, ()))
        yield decide_study(predictor.model_file, name, (*islice(answers, len(sources)), *absent))


def decide_study(model_file: ModelFile, name: str, images: Sequence[Prediction]) -> StudyPrediction:
    """Put the answers about the images of one study together.

    Args:
        model_file: Whose answers they are.
        name: Of the study.
        images: One answer or more, made with the thresholds of a study.
    """
    readable = [answer for answer in images if not answer.error]
    decision = triage_together((answer.decision for answer in readable), len(images) - len(readable))
    if not readable:
        decision = READ if model_file.point or model_file.points else UNDECIDED
        return StudyPrediction(name, tuple(images), decision, f"none of {_count(len(images))} could be read", None)
    scores = [score_of(model_file, answer.probabilities) for answer in readable]
    highest = max(scores)
    top = readable[scores.index(highest)]
    findings = study_findings(model_file, images)
    if findings:
        decision, reason = image_decision(model_file, findings)
    else:
        reason = _reason(model_file, decision, images, highest)
    return StudyPrediction(name, tuple(images), decision, reason, highest, _notes(model_file, images), top, findings)


def _reason(model_file: ModelFile, decision: str, images: Sequence[Prediction], highest: float) -> str:
    if decision == ABSTAIN:
        unlike = [answer for answer in images if answer.decision == ABSTAIN]
        return f"{len(unlike)} of {_count(len(images))} abstained on: {unlike[0].reason}"
    if model_file.point is None:
        return UNCERTIFIED
    where = f"{model_file.group} {model_file.percent(highest)}, {place(model_file, model_file.point, highest)}"
    told = where if len(images) == 1 else f"largest of {_count(len(images))}: {where}"
    if decision == READ and (bad := sum(bool(answer.error) for answer in images)):
        return f"{told}; {bad} of {_count(len(images))} could not be read, so nothing is ruled out"
    if decision != CLEAR:  # the flagged image is not always the one with the largest score: that may be abstained on
        flagged = [score_of(model_file, answer.probabilities) for answer in images if answer.decision == decision]
        if flagged and max(flagged) < highest:
            highest = max(flagged)
            place_of = place(model_file, model_file.point, highest)
            here = f"{model_file.group} {model_file.percent(highest)}, {place_of}"
            return f"of {_count(len(images))} the largest not abstained on: {here}"
    return told


def _notes(model_file: ModelFile, images: Sequence[Prediction]) -> tuple[str, ...]:
    """Notes on the images, each once; and whether the calibration patients had so many images."""
    notes = list(dict.fromkeys(note for answer in images for note in answer.notes))
    one, several = model_file.metadata.certificate, model_file.metadata.certificates
    named = {"": one} if one else {f"{model_file.short[name]}: ": found for name, found in several.items()}
    more, rare = [], []
    for name, certificate in named.items():
        patients = certificate.images.patients if certificate.images else {}
        fewer, of_all = sum(number for size, number in patients.items() if size <= len(images)), sum(patients.values())
        if patients and len(images) > max(patients):
            more.append(f"{name}{max(patients)}")
        if fewer < RARE * of_all:
            rare.append(f"{name}{fewer} of {of_all}")
    if more:
        notes.append(
            f"{_count(len(images))}, more than any calibration patient had ({', '.join(more)}): its largest score is "
            "flagged or read more often than stated."
        )
    if rare:
        notes.append(
            f"{_count(len(images))}, and few calibration patients had so few ({', '.join(rare)}): its largest score is "
            "cleared more often than stated, and the sensitivity is not guaranteed."
        )
    return tuple(notes)


def _count(images: int) -> str:
    return f"{images:,} image{'' if images == 1 else 's'}"
