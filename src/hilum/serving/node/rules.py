"""Which rule an image meets: by what its header says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hilum.data.dicom_header import facts
from hilum.serving.node.configuration import Rule

TAGS = (
    *("SpecificCharacterSet", "SOPInstanceUID", "StudyInstanceUID", "Modality", "ViewPosition", "ViewCodeSequence"),
    *("StationName", "PatientAge", "PatientBirthDate", "StudyDate", "Manufacturer"),
)


@dataclass(frozen=True)
class ImageFacts:
    """What rules ask of an image; empty or None where the header does not say.

    Attributes:
        modality: Modality.
        view: Projection, by the names of `hilum.data.dicom_header.VIEWS`.
        station: StationName.
        age: In years.
    """

    modality: str = ""
    view: str = ""
    station: str = ""
    age: float | None = None


def image_facts(header: Any) -> ImageFacts:
    """What rules ask, of a header with `TAGS`."""
    known = facts(header)
    age = float(known["age"]) if "age" in known else _age(header)
    station = str(header.get("StationName", "") or "").strip()
    return ImageFacts(str(header.get("Modality", "") or "").upper().strip(), known.get("view", ""), station, age)


def first_match(rules: Sequence[Rule], image: ImageFacts) -> Rule | None:
    """The first rule that an image meets; None where it meets none."""
    return next((rule for rule in rules if _meets(rule, image)), None)


def _meets(rule: Rule, image: ImageFacts) -> bool:
    stated = ((rule.modality, image.modality), (rule.view, image.view), (rule.station, image.station))
    if any(wanted and value.upper() not in {one.upper() for one in wanted} for wanted, value in stated):
        return False
    if rule.youngest is None and rule.oldest is None:
        return True
    if image.age is None:
        return False
    return (rule.youngest or 0) <= image.age and (rule.oldest is None or image.age <= rule.oldest)


def _age(header: Any) -> float | None:
    """By birth date and study date, where PatientAge is not stated."""
    try:
        born, seen = (
            datetime.strptime(str(header.get(name, "") or "").strip(), "%Y%m%d")
            for name in ("PatientBirthDate", "StudyDate")
        )
    except ValueError:
        return None
    years = (seen - born).days / 365.25
    return years if 0 <= years <= 130 else None
