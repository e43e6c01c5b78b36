"""What labels, findings and triage decisions are called in coded results: SNOMED CT, DICOM or private codes."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from hilum.decision.operating_point import ABSTAIN, CLEAR, FLAG, READ, UNDECIDED
from hilum.serving.model_file import ModelFile
from hilum.text import printable

PRIVATE = "99HILUM"  # private schemes begin with 99 (PS3.3, 8.2)
SCT, DCM = "SCT", "DCM"
WARNING = "For research and teaching. Not for diagnosis."
LONGEST = 64  # letters of a code's meaning (VR LO)


@dataclass(frozen=True, slots=True)
class Term:
    """A coded term.

    Attributes:
        code: At most 16 letters where the scheme is private; those of SNOMED CT have up to 18 digits.
        scheme: As DICOM calls it: ``SCT``, ``DCM`` or ``99HILUM``.
        meaning: In words, at most 64 letters.
    """

    code: str
    scheme: str
    meaning: str


CHEST = Term("816094009", SCT, "Chest")
REGION = Term("111030", DCM, "Image Region")
SOURCE = Term("121112", DCM, "Source of Measurement")
CHEST_RADIOGRAPHY = Term("399208008", SCT, "Plain chest X-ray")
NOTHING_FOUND = Term("408573005", SCT, "Imaging result normal")
# By spelling (`_spelling`). Codes of SNOMED CT that PS3.16 does not list were compared with published mappings.
KNOWN = {
    "atelectasis": Term("46621007", SCT, "Atelectasis"),
    "bacterial pneumonia": Term("53084003", SCT, "Bacterial pneumonia"),
    "cardiomegaly": Term("8186001", SCT, "Cardiomegaly"),
    "consolidation": Term("95436008", SCT, "Lung consolidation"),
    "covid 19 pneumonia": Term("882784691000119100", SCT, "Pneumonia caused by SARS-CoV-2"),
    "emphysema": Term("87433001", SCT, "Pulmonary emphysema"),
    "ground glass opacity": Term("112120", DCM, "Ground glass opacity"),
    "infiltrate": Term("112121", DCM, "Infiltrate"),
    "mass": Term("4147007", SCT, "Mass"),
    "nodule": Term("27925004", SCT, "Nodule"),
    "pleural effusion": Term("60046008", SCT, "Pleural effusion"),
    "pneumonia": Term("233604007", SCT, "Pneumonia"),
    "pneumothorax": Term("36118008", SCT, "Pneumothorax"),
    "pulmonary edema": Term("19242006", SCT, "Pulmonary edema"),
    "pulmonary tuberculosis": Term("154283005", SCT, "Pulmonary tuberculosis"),
    "viral pneumonia": Term("75570004", SCT, "Viral pneumonia"),
}
ALSO = {
    "covid": "covid 19 pneumonia",
    "covid 19": "covid 19 pneumonia",
    "covid19": "covid 19 pneumonia",
    "edema": "pulmonary edema",
    "oedema": "pulmonary edema",
    "pulmonary oedema": "pulmonary edema",
    "effusion": "pleural effusion",
    "ground glass": "ground glass opacity",
    "lung nodule": "nodule",
    "lung mass": "mass",
    "lung consolidation": "consolidation",
    "infiltration": "infiltrate",
    "tuberculosis": "pulmonary tuberculosis",
}

TRIAGE = Term("TRIAGE", PRIVATE, "Triage decision")
REASON = Term("REASON", PRIVATE, "Reason of the triage decision")
MEANING = Term("MEANING", PRIVATE, "Meaning of the triage decision")
COMMENT = Term("121106", DCM, "Comment")
DATA_ERROR = Term("DATA_ERROR", PRIVATE, "Error in the model's training data")
REFUSED = Term("REFUSED", PRIVATE, "Not assessed")
DECISION = {
    FLAG: Term("FLAG", PRIVATE, "Flagged"),
    READ: Term("READ", PRIVATE, "To be read"),
    CLEAR: Term("CLEAR", PRIVATE, "Below the threshold"),
    ABSTAIN: Term("ABSTAIN", PRIVATE, "Abstained: a person must read it"),
    UNDECIDED: Term("UNDECIDED", PRIVATE, "Undecided: no operating point"),
}


def label_term(model: ModelFile, label: str) -> Term:
    """The code of a label or finding, by what it is called before people.

    A label that means that nothing was found is a normal result; one whose words are none of `KNOWN` gets a private
    code, the same one wherever the words are the same.

    Args:
        model: Whose label it is.
        label: One of its labels.
    """
    if label in model.healthy:
        return NOTHING_FOUND
    words = _spelling(model.short[label])
    return KNOWN.get(ALSO.get(words, words)) or _private("F", "", model, label)


def probability_term(model: ModelFile, label: str) -> Term:
    """The private code of the probability of a label or finding."""
    return _private("P", "Probability of ", model, label)


def _private(kind: str, before: str, model: ModelFile, label: str) -> Term:
    words = before + model.label_name[label]
    code = kind + hashlib.blake2b(words.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest().upper()
    return Term(code, PRIVATE, shortened(words if len(words) <= LONGEST else before + model.short[label]))


def shortened(words: str) -> str:
    """Words as a code's meaning may hold them: one line of at most 64 letters, without backslashes."""
    line = " ".join(printable(words).replace("\\", "/").split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3].rstrip()}..."


def _spelling(words: str) -> str:
    return " ".join(re.split(r"[\s_\-]+", words.strip().casefold()))
