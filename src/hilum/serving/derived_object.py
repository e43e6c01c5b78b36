"""What a DICOM object that hilum makes takes over from the image it is about: identifiers, patient and study."""

from __future__ import annotations

import logging
import re
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import hilum
from hilum.data.images import read_elements
from hilum.errors import ImageError
from hilum.serving.model_file import ModelFile

if TYPE_CHECKING:
    from pydicom import Dataset

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "hilum.invalid")
NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
TEXTS = ("PatientID", "AccessionNumber", "StudyID", "IssuerOfPatientID")
PERSONS = ("PatientName", "ReferringPhysicianName")
DATES, TIMES = ("PatientBirthDate", "StudyDate"), ("StudyTime",)
OPTIONAL = ("IssuerOfPatientID",)  # without it an archive of several issuers files the object with another patient
# What has to be read of an image's header to report on it.
KEYWORDS = [
    *NEEDED,
    *TEXTS,
    *PERSONS,
    *DATES,
    *TIMES,
    "PatientSex",
    "SpecificCharacterSet",
    "Modality",
    "ManufacturerModelName",
    "Rows",
    "Columns",
]
DATE = re.compile(r"[12]\d{3}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")
UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
CHARACTERS = "ISO_IR 192"  # UTF-8
PROGRAM = "hilum"
PADDING = " \0"  # with which UIDs are filled up


def derived_uid(*about: str) -> str:
    """A UID that is the same for the same arguments (PS3.5, B.2: ``2.25.`` and a UUID)."""
    return f"2.25.{uuid.uuid5(NAMESPACE, chr(0).join(about)).int}"


def result_uid(source: Dataset, model: ModelFile, kind: str) -> str:
    """The UID of what one model, in this version of hilum, says of an image: sent twice, an archive keeps it once.

    Args:
        source: Header of the image.
        model: Who answered.
        kind: Of object, such as ``report``.
    """
    return derived_uid(str(source.SOPInstanceUID).strip(PADDING), model.sha256, hilum.__version__, kind)


@contextmanager
def quiet() -> Iterator[None]:
    """Neither warn of nor log what pydicom says of malformed values: it tells the values, which may be names."""

    def nothing(_: logging.LogRecord) -> bool:
        return False

    logger = logging.getLogger("pydicom")
    logger.addFilter(nothing)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeFilter(nothing)


def check_source(source: Dataset) -> None:
    """Find out whether an object about this image would have a place in an archive.

    Raises:
        ImageError: It lacks an identifier, or one is no UID; or it is a heatmap or report of hilum itself, of which an
            archive that sends on all it gets would never come to an end.
    """
    if str(source.get("ManufacturerModelName", "") or "").strip(PADDING) == PROGRAM:
        msg = "the object was made by hilum. Send it radiographs only."
        raise ImageError(msg, code="own-object")
    for keyword in NEEDED:
        value = str(source.get(keyword, "") or "").strip(PADDING)
        if len(value) > 64 or not UID.fullmatch(value):
            what = f"has a {keyword} that is no UID" if value else f"states no {keyword}"
            msg = f"the image {what}, so that no archive could file a report about it. Add it to the header."
            raise ImageError(msg, code="no-identifier")


def stub(source: Dataset) -> Dataset:
    """An image header with the identifiers of `source` and nothing of the patient.

    highdicom logs names that it finds odd, and stops at dates and character sets that the standard forbids.
    """
    from pydicom import Dataset

    made = Dataset()
    for keyword in NEEDED:
        setattr(made, keyword, str(source[keyword].value).strip(PADDING))
    for keyword in (*TEXTS, *PERSONS, *DATES, *TIMES, "PatientSex"):
        if keyword not in OPTIONAL:
            setattr(made, keyword, "")
    made.Modality = str(source.get("Modality", "") or "OT")
    return made


def complete(made: Dataset, source: Dataset, now: datetime) -> Dataset:
    """Give an object the patient and study of its source, in UTF-8, and the time.

    Of the patient: name, ID and its issuer, date of birth and sex; of the study: ID, accession number, date, time and
    referring physician. An object of the same study has to repeat these (PS3.3, C.7.1.1 and C.7.2.1), and nothing else
    is taken over. What is missing or malformed stays empty.

    Args:
        made: Is changed.
        source: Header of the image.
        now: In local time.
    """
    made.SpecificCharacterSet = CHARACTERS
    for keyword in (*TEXTS, *PERSONS):
        _set(made, keyword, _text(source, keyword))
    for keyword in DATES:
        _set(made, keyword, _valid(source, keyword, DATE.fullmatch))
    for keyword in TIMES:
        _set(made, keyword, _valid(source, keyword, TIME.fullmatch))
    sex = _text(source, "PatientSex").upper()
    made.PatientSex = sex if sex in ("M", "F", "O") else ""
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S.%f")
    made.InstanceCreationDate = made.ContentDate = date
    made.InstanceCreationTime = made.ContentTime = time
    for equipment in made.get("ContributingEquipmentSequence", ()):  # highdicom, which looks at the clock itself
        equipment.ContributionDateTime = date + time
    return made


def _set(made: Dataset, keyword: str, value: str) -> None:
    if value or keyword not in OPTIONAL:
        setattr(made, keyword, value)


def _text(source: Dataset, keyword: str) -> str:
    """A value in one line, decoded by the source's character set; a name with all its groups."""
    text = str(source.get(keyword) or "")
    return "".join(letter for letter in text if letter.isprintable()).replace("\\", " ").strip()


def _valid(source: Dataset, keyword: str, is_valid: Callable[[str], object]) -> str:
    value = _text(source, keyword)
    return value if is_valid(value) else ""


def read_source(path: Path) -> Dataset:
    """The header of a DICOM file, as far as objects about it need it; nothing of any other file.

    It is read in a process with bounds, as pixels are. Its texts are decoded already.

    Raises:
        ExtraError: It is a DICOM object, and the extra that reads those is not installed.
    """
    from pydicom import Dataset

    made = Dataset()
    texts = read_elements(path, KEYWORDS)
    with quiet():
        for keyword, text in texts.items():
            if keyword in ("Rows", "Columns"):
                setattr(made, keyword, int(text or 0))
            elif keyword != "SpecificCharacterSet":
                setattr(made, keyword, text)
    return made
