"""Answers of every kind about DICOM objects of every kind, of which structured reports are made."""

import copy
import hashlib
import io
import json
import shutil
import subprocess
from dataclasses import replace
from datetime import datetime

import numpy as np
import pydicom
import pytest

from dicom_objects import radiograph
from hilum.serving.finding_decisions import decide_findings, image_decision, likely_findings
from hilum.serving.model_file import FORMAT_OF_FINDINGS, open_model_file, shipped_model
from hilum.serving.prediction import Prediction, decide
from hilum.serving.structured_report import ReportedImage, result_objects

NOW = datetime(2026, 1, 2, 3, 4, 5)
SHIPPED = open_model_file(shipped_model())
LABELS = SHIPPED.labels
DATA_ERROR = "120 images of 40 patients are in both the training and the test split"


def changed(**changes):
    facts = {**copy.deepcopy(dict(SHIPPED.facts)), **changes}
    return replace(SHIPPED, facts=facts, sha256=hashlib.sha256(json.dumps(facts).encode()).hexdigest())


# The thresholds of the model that comes with hilum change where it is built anew; these stay.
CERTIFIED = changed(
    operating_point={**SHIPPED.facts["operating_point"], "threshold": 0.04, "image_threshold": 0.04},
    certificate={**SHIPPED.facts["certificate"], "threshold": 0.04, "image_threshold": 0.04},
)
UNCERTIFIED = changed(operating_point=None, certificate=None)
MISLED = changed(provenance={"data": {"findings": [{"severity": "error", "message": DATA_ERROR}]}})
FINDINGS = ("effusion", "cardiomegaly", "nodule", "pneumothorax", "lines and tubes")
SEVERAL = changed(
    format=FORMAT_OF_FINDINGS,
    task="findings",
    labels=list(FINDINGS),
    label_name={},
    healthy=[],
    positive_label=None,
    hierarchy="flat",
    tree=[],
    maps=[],
    operating_point=None,
    certificate=None,
    operating_points={
        "effusion": {"group": "effusion", "members": ["effusion"], "threshold": 0.3},
        "pneumothorax": {
            "group": "pneumothorax",
            "members": ["pneumothorax"],
            "threshold": 0.1,
            "upper_threshold": 0.9,
        },
        "cardiomegaly": {"group": "cardiomegaly", "members": ["cardiomegaly"], "threshold": 0.5},
    },
    certificates={},
)


def answer(row, unlike="", notes=(), model=CERTIFIED, p_in_distribution=0.4):
    found = dict(zip(LABELS, row, strict=True))
    label = max(found, key=found.get)
    decision, reason = decide(model, found, unlike=unlike)
    return Prediction("x", label, model.label_name[label], found, decision, reason, notes, p_in_distribution)


def findings_answer(row, unlike=""):
    found = dict(zip(FINDINGS, row, strict=True))
    each = decide_findings(SEVERAL, found, unlike=unlike)
    decision, reason = image_decision(SEVERAL, each)
    label = likely_findings(found)
    return Prediction("x", label, label, found, decision, reason, findings=each)


# By name: the answer, and who gave it.
ANSWERS = {
    "flagged": (answer((0.1, 0.7, 0.2)), CERTIFIED),
    "flagged, though most likely normal": (answer((0.9, 0.06, 0.04)), CERTIFIED),
    "cleared": (answer((0.97, 0.01, 0.02), notes=("A lateral view, which may be absent.",)), CERTIFIED),
    "abstained": (answer((0.1, 0.7, 0.2), unlike="out of distribution: another scanner"), CERTIFIED),
    "undecided": (answer((0.1, 0.2, 0.7), model=UNCERTIFIED), UNCERTIFIED),
    "of misleading data": (answer((0.1, 0.7, 0.2), model=MISLED), MISLED),
    "several findings": (findings_answer((0.8, 0.1, 0.4, 0.5, 0.6)), SEVERAL),
    "no finding": (findings_answer((0.1, 0.1, 0.1, 0.01, 0.1)), SEVERAL),
    "findings, abstained": (findings_answer((0.8, 0.1, 0.4, 0.5, 0.6), unlike="a colour image"), SEVERAL),
    "refused: a leg": (Prediction("x", error="shows another body part (LEG), not a chest. Remove it."), CERTIFIED),
    "refused: a lateral view": (Prediction("x", error="a lateral view, and no rule for those."), CERTIFIED),
    "refused: damaged": (Prediction("x", error="a damaged DICOM object (ValueError)."), CERTIFIED),
}
IDENTIFIERS = {
    "StudyInstanceUID": "1.2.840.99999.1",
    "SeriesInstanceUID": "1.2.840.99999.1.2",
    "SOPInstanceUID": "1.2.840.99999.1.2.3",
}
WHOLE = {
    "PatientName": "Secret^Name",
    "PatientID": "4711",
    "IssuerOfPatientID": "HOSPITAL",
    "PatientBirthDate": "19500102",
    "PatientSex": "F",
    "StudyID": "S1",
    "AccessionNumber": "A77",
    "StudyDate": "20260101",
    "StudyTime": "101112.5",
    "ReferringPhysicianName": "Doctor^Who",
    # None of these may be in what is made.
    "PatientAddress": "1 Secret Street",
    "OtherPatientIDs": "PASSPORT-1",
    "PatientComments": "secret remark",
    "InstitutionName": "Secret Hospital",
    "OperatorsName": "Secret^Operator",
    "StationName": "SECRETSTATION",
    "StudyDescription": "secret description",
}
JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"
KOREAN = "Hong^Gildong=洪^吉洞=홍^길동"
# By name: elements of the header.
SOURCES = {
    "whole": WHOLE,
    "nearly empty": {"PatientName": None, "PatientID": None},
    "Japanese": {**WHOLE, "SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": JAPANESE},
    "Korean": {**WHOLE, "SpecificCharacterSet": ["", "ISO 2022 IR 149"], "PatientName": KOREAN},
    "malformed": {
        **WHOLE,
        "PatientBirthDate": "1950",
        "PatientSex": "X",
        "StudyDate": "31.12.2025",
        "StudyTime": "25:00",
        "PatientName": "Secret",
    },
}


def source(name="whole", **elements):
    """The header of a phantom's object."""
    return radiograph(**{**IDENTIFIERS, **SOURCES[name], **elements})


def heatmap():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def objects(which="flagged", header="whole", **options):
    prediction, model = ANSWERS[which]
    picture = options.pop("picture", None)
    image = ReportedImage(prediction, options.pop("source", None) or source(header), picture)
    return result_objects(image, model, now=options.pop("now", NOW), **options)


def again(dataset):
    """The object as a file holds it."""
    return pydicom.dcmread(io.BytesIO(as_file(dataset)))


def as_file(dataset):
    content = io.BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()


def tool(name, package):
    """The path of a program; its test is skipped where it is absent."""
    found = shutil.which(name)
    return found or pytest.skip(f"{name} is not on this machine (Debian: apt install {package})")


def complaints(path):
    """Lines of dciodvfy that begin with Error."""
    command = [tool("dciodvfy", "dicom3tools"), "-new", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    said = (result.stdout + result.stderr).splitlines()
    assert any(line in ("Comprehensive3DSR", "EnhancedSR", "SCImage") for line in said), said
    return [line for line in said if line.startswith(("Error", "E: "))]
