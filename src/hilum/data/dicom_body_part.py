"""Whether a DICOM object says that it shows a chest: by the meaning of its words, not by their spelling.

BodyPartExamined is typed in by hand or by the modality: ``PORT CHEST``, ``TORAX``, ``CHESTPA``, ``Грудная клетка``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from enum import Enum


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
