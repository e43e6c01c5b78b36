"""What the header of a DICOM object decides: whether it shows a chest, whether it is read, and what is kept of it."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from enum import Enum
from typing import Any

from hilum.data.images import LARGEST_PIXELS, SMALLEST_SIDE
from hilum.data.patients import FROM_HEADER, is_nobody


class BodyPart(Enum):
    """What the header says of the body part."""

    CHEST = "chest"
    OTHER = "another body part"
    UNKNOWN = "unknown"


# Anatomic regions that hold the lungs, of SNOMED CT and of the older SNOMED RT (DICOM PS3.16, CID 4 and annex L).
CHEST_CODES = frozenset(
    {"816094009", "51185008", "T-D3000", "39607008", "T-28000", "416550000", "416775004", "R-FAB55", "R-FAB57"}
)
# Parts of words, without accents; the first group wins but for CHEST_NOUNS: a thoracic spine is no chest.
SPINE = (
    *("SPINE", "LUMBAR", "CERVICAL", "SACR", "COCCY", "VERTEBR", "COLUMN", "COLONN", "RACHIS", "WIRBEL", "KREGOSLUP"),
    *("ПОЗВОН", "WERVEL", "RYGG", "DORSAL", "椎", "脊"),
)
# Nouns that name the chest beside a spine as well (CHEST AND SPINE), as THORACIC and ГРУДНОЙ do not.
CHEST_NOUNS = (
    *("CHEST", "THORAX", "TORAX", "TORACE", "PECHO", "POITRINE", "BRUSTKORB", "PETTO", "MELLKAS", "BORSTKAS"),
    *("BROSTKORG", "LUNG", "POUMON", "POLMON", "CXR", "胸部", "肺"),
)
CHEST = (
    *("CHEST", "THORA", "THORX", "TORAX", "TORAC", "PECHO", "POITRINE", "BRUST", "PETTO", "PIERSI", "ГРУД"),
    *("HRUDN", "MELLKAS", "BRYST", "BROSTKORG", "BORSTKAS", "GOGUS", "ΘΩΡΑΚ", "חזה", "صدر", "胸", "흉부"),
    *(
        "LUNG",
        "PULM",
        "POUMON",
        "POLMON",
        "ЛЕГК",
        "PLUC",
        "AKCIGER",
        "肺",
        "CXR",
        "RIBS",
        "RIBCAGE",
        "RIPPEN",
        "COSTILLA",
    ),
)
CHEST_WORDS = frozenset({"RIB", "THX"})
PERHAPS_CHEST = "TX"  # but a treatment beside another part
OTHER = (
    *("HAND", "WRIST", "FINGER", "THUMB", "ELBOW", "FOREARM", "HUMER", "SHOULDER", "CLAVIC", "SCAPUL", "SKULL", "HEAD"),
    *("NECK", "SINUS", "FACE", "FACIAL", "ORBIT", "NASAL", "MANDIB", "MAXILL", "TEETH", "TOOTH", "DENTAL", "KNEE"),
    *("PATELL", "FOOT", "FEET", "ANKLE", "CALCAN", "HEEL", "FEMUR", "FEMORAL", "TIBIA", "FIBULA", "PELVI", "ABDOM"),
    *(
        "EXTREM",
        "BREAST",
        "RADIUS",
        "ULNA",
        "KIDNEY",
        "BLADDER",
        "CRANE",
        "CRANI",
        "MANO",
        "MUNECA",
        "RODILLA",
        "CADERA",
    ),
    *("HOMBRO", "TOBILLO", "GENOU", "CHEVILLE", "POIGNET", "EPAULE", "BASSIN", "HANCHE", "GINOCCHIO", "CAVIGLIA"),
    *("BACINO", "SPALLA", "BECKEN", "SCHADEL", "SCHAEDEL", "SCHULTER", "KNIE", "HUFTE", "HUEFTE", "SPRUNGG", "KOLANO"),
    *(
        "MIEDNICA",
        "CZASZK",
        "BRZUCH",
        "КОЛЕН",
        "КИСТ",
        "СТОП",
        "ЧЕРЕП",
        "ПЛЕЧ",
        "БРЮШ",
        "ЖИВОТ",
        "腹",
        "頭",
        "膝",
        "骨盤",
    ),
)
# Body parts that a message may name as they are written: terms of PS3.16, annex L. Of any other word, which could be a
# person's name, a message names what stands in the lists of this module.
TERMS = frozenset(
    {"ABDOMEN", "ANKLE", "ARM", "BLADDER", "BREAST", "CALCANEUS", "CLAVICLE", "ELBOW", "EXTREMITY", "FACE", "FEMUR"}
    | {"FIBULA", "FINGER", "FOOT", "FOREARM", "HAND", "HEAD", "HEEL", "HIP", "HUMERUS", "JAW", "KIDNEY", "KNEE", "LEG"}
    | {"MANDIBLE", "MAXILLA", "NECK", "ORBIT", "PATELLA", "PELVIS", "RADIUS", "SCAPULA", "SHOULDER", "SINUS", "SKULL"}
    | {"TEETH", "THUMB", "TIBIA", "TOE", "ULNA", "WRIST"}
)
OTHER_WORDS = frozenset(
    {"ARM", "LEG", "HIP", "TOE", "TOES", "JAW", "PIE", "PIED", "PIEDE", "FUSS", "EXM", "ТАЗ", "KUB"}
)


def body_part(names: Iterable[str], codes: Iterable[str] = ()) -> tuple[BodyPart, str]:
    """Judge what an object says of the body part it shows.

    Args:
        names: Values of BodyPartExamined, and the meanings of codes; empty ones say nothing.
        codes: Values of AnatomicRegionSequence's codes.

    Returns:
        A chest where one name or code means it; another part where at least one name means such and none means a
        chest; otherwise unknown. Then a word for the other part, of a list of this module: the value could hold
        anything.
    """
    if any(code.strip().upper() in CHEST_CODES for code in codes):
        return BodyPart.CHEST, ""
    found = [_meaning(name) for name in names]
    order = (BodyPart.CHEST, BodyPart.OTHER)
    return next((judged for part in order for judged in found if judged[0] is part), (BodyPart.UNKNOWN, ""))


def _meaning(name: str) -> tuple[BodyPart, str]:
    decomposed = unicodedata.normalize("NFKD", name.upper().replace("Ł", "L").replace("Ø", "O"))
    letters = unicodedata.normalize("NFC", "".join(c for c in decomposed if not unicodedata.combining(c)))
    words = re.findall(r"[^\W\d_]+", letters)
    whole = "".join(words)
    spine = any(part in whole for part in SPINE)
    if spine and not any(word.startswith(CHEST_NOUNS) for word in words):
        return BodyPart.OTHER, "SPINE"
    if any(part in whole for part in CHEST) or CHEST_WORDS.intersection(words):
        return BodyPart.CHEST, ""
    for word in words:  # perhaps behind a side: RKNEE, LTHAND
        tails = [word[side:] for side in range(3)]
        parts = (part for tail in tails for part in OTHER if tail.startswith(part))
        stem = word if word in OTHER_WORDS else next(parts, "")
        if stem:
            return BodyPart.OTHER, next((tail for tail in tails if tail in TERMS), stem)
    return (BodyPart.CHEST if PERHAPS_CHEST in words else BodyPart.UNKNOWN), ""


RADIOGRAPHS = frozenset({"CR", "DX", "DR"})  # DR is no defined term, but written
FILM = "RG"  # radiographs on film, digitised (PS3.3 C.7.3.1.1.1)
MODALITIES = frozenset(
    {"CT", "MR", "US", "PT", "NM", "XA", "RF", "MG", "IO", "PX", "XC", "ES", "GM", "SM", "OP", "OPT", "BMD", "OT", "HC"}
    | {"RTIMAGE", "RTDOSE", "RTSTRUCT", "RTPLAN", "SR", "PR", "KO", "SEG", "ECG", "DOC", "SC", "TG", "FID", "REG", "AU"}
)
VIEWS = {
    "PA": {"PA", "272479007", "R-10214", "R-40888"},
    "AP": {"AP", "399348003", "R-10206"},
    "LL": {"LL", "LLAT", "399173006", "R-10236"},
    "RL": {"RL", "RLAT", "399198007", "R-10232"},
    "LATERAL": {"LATERAL", "LAT", "399067008", "R-102CD", "399352003", "R-10228"},
    **{view: {view} for view in ("LLD", "RLD", "LLO", "RLO", "LAO", "RAO", "LPO", "RPO")},
}  # by terms of ViewPosition and by codes of SNOMED (PS3.16, CID 4010)
LATERAL = frozenset({"LL", "RL", "LATERAL"})
YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
OLDEST = 90  # higher ages could identify a person (45 CFR 164.514): they are counted together
STUDY = "study:"  # what a pseudonym of a StudyInstanceUID begins with
KEY = "HILUM_PATIENT_KEY"
ELSEWHERE = "Check the origin of the file."


class Refusal(Exception):  # noqa: N818 - not an error of hilum's tree: its text is one's message
    """Why an object is not read; never holds a value of the file that could identify anybody."""


def gate(header: Any) -> list[str]:
    """Refuse what is no single chest radiograph for presentation; note what a reader has to know.

    Modality RG, a digitised film, is read with a note (judged): film is what older collections consist of, and it shows
    the same anatomy. A body part in words that are not known is read with a note, too.

    Raises:
        Refusal: By the header alone.
    """
    modality = str(header.get("Modality", "")).upper().strip()
    if modality not in RADIOGRAPHS and modality != FILM:
        stated = modality if modality in MODALITIES else "not known" if modality else "not stated"
        msg = f"modality {stated}, not a radiograph (CR or DX). Remove it."
        raise Refusal(msg)
    if str(header.get("PresentationIntentType", "")).upper().strip() == "FOR PROCESSING":
        msg = "raw detector data (FOR PROCESSING). Use the object FOR PRESENTATION of the same exposure."
        raise Refusal(msg)
    names, codes = _parts(header)
    part, word = body_part(names, codes)
    if part is BodyPart.OTHER:
        msg = f"shows another body part ({word}), not a chest. Remove it."
        raise Refusal(msg)
    frames = int(header.get("NumberOfFrames", 1) or 1)
    if frames > 1:
        msg = f"holds {frames} frames; a radiograph is one image. Extract the frame to use."
        raise Refusal(msg)
    rows, columns = int(header.get("Rows", 0) or 0), int(header.get("Columns", 0) or 0)
    if rows * columns > LARGEST_PIXELS or min(rows, columns) < SMALLEST_SIDE:
        msg = f"states {columns}x{rows} pixels, more than any radiograph has; not read. {ELSEWHERE}"
        raise Refusal(msg)
    if not str(header.get("PhotometricInterpretation", "")).startswith("MONOCHROME"):
        msg = "is a colour image; radiographs are MONOCHROME1 or MONOCHROME2. Remove it."
        raise Refusal(msg)
    notes = []
    if modality == FILM:
        notes.append("A digitised film (modality RG), which may be absent from the training images.")
    if part is BodyPart.UNKNOWN and any(names):
        notes.append("Its header names an unknown body part.")
    if view(header) in LATERAL:
        notes.append("A lateral view, which may be absent from the training images.")
    if str(header.get("BurnedInAnnotation", "")).upper().strip() == "YES":
        notes.append("Its header states burned-in annotation (text in the pixels).")
    return notes


def facts(header: Any) -> dict[str, str]:
    """What a table keeps of a header: patient, view, age and sex, each only where it is known.

    The patient is a hash of PatientID and IssuerOfPatientID, so that images of one person stay together. This is a
    pseudonym, not anonymity: whoever can list all identifiers of a hospital can hash them all. Set the environment
    variable ``HILUM_PATIENT_KEY`` to a secret, the same one on each machine of a study, and only its holders can.

    Returns:
        Some of ``patient_id`` (``dicom:`` and 12 hexadecimal digits), ``study`` (``study:`` and 12, of
        StudyInstanceUID), ``view`` (as ViewPosition has it, or
        ``LATERAL``), ``age`` (in years, 90 for all higher ones) and ``sex`` (``M``, ``F`` or ``O``).
    """
    found = {"view": view(header), "age": _age(str(header.get("PatientAge", "") or ""))}
    sex = str(header.get("PatientSex", "") or "").upper().strip()
    found["sex"] = sex if sex in ("M", "F", "O") else ""
    person = str(header.get("PatientID", "") or "").strip(" \0")
    if not is_nobody(person) and person.strip("0"):  # a table may count its patients from 0, an archive does not
        issuer = str(header.get("IssuerOfPatientID", "") or "").strip(" \0")
        found["patient_id"] = FROM_HEADER + _pseudonym(f"{issuer}\0{person}")
    if study := str(header.get("StudyInstanceUID", "") or "").strip(" \0"):
        found["study"] = STUDY + _pseudonym(study)
    return {name: value for name, value in found.items() if value}


def _pseudonym(identifier: str) -> str:
    key = hashlib.sha256(os.environ[KEY].encode()).digest() if os.environ.get(KEY) else b""
    return hashlib.blake2b(identifier.encode("utf-8", "replace"), key=key, digest_size=6).hexdigest()


def view(header: Any) -> str:
    """The projection in one of `VIEWS`' names; empty where it is not stated in a known term."""
    terms = [header.get("ViewPosition"), *(item.get("CodeValue") for item in header.get("ViewCodeSequence") or ())]
    stated = [str(term or "").upper().strip() for term in terms]
    return next((name for term in stated for name, known in VIEWS.items() if term in known), "")


def _parts(header: Any) -> tuple[list[str], list[str]]:
    """Names of the body part, and codes of the anatomic region."""
    names: list[str] = []
    codes: list[str] = []
    given = header.get("BodyPartExamined") or ""
    for value in [given] if isinstance(given, str) else given:
        names += _readings(str(value), header)
    for item in header.get("AnatomicRegionSequence") or ():
        names.append(str(item.get("CodeMeaning", "")))
        codes.append(str(item.get("CodeValue", "")))
    return names, codes


def _readings(value: str, header: Any) -> Iterator[str]:
    """A code string, and what it may have been before it was read as Latin: other letters are not allowed there."""
    yield value
    if value.isascii():
        return
    from pydicom.charset import convert_encodings

    encodings = ["utf-8"]
    with suppress(Exception):  # a character set that does not exist
        encodings += convert_encodings(header.get("SpecificCharacterSet", ""))
    for encoding in encodings:
        with suppress(UnicodeError, LookupError):
            yield value.encode("latin-1").decode(encoding)


def _age(given: str) -> str:
    """An age string (PS3.5, 6.2: 045Y, 006M) in years."""
    given = given.strip().upper()
    if not (given[:-1].isascii() and given[:-1].isdigit() and given[-1:] in YEARS and len(given) <= 4):
        return ""
    return f"{min(int(given[:-1]) * YEARS[given[-1]], OLDEST):.3g}"
