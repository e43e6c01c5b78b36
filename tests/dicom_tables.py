"""The tables of the DICOM standard for dicom-validator, which would fetch the standard's text from the network.

They come from the package `dicom-standard` (PS3.3 of April 2020, parsed by Innolitics). Conditions are read by
dicom-validator's own parser, enumerated values from the lists that follow this word.
"""

import importlib.metadata
import json
import re
from functools import cache
from html import unescape
from xml.etree import ElementTree

import pytest
from dicom_validator.spec_reader.condition import ConditionType
from dicom_validator.spec_reader.condition_parser import ConditionParser
from dicom_validator.validator.dicom_file_validator import DicomFileValidator
from dicom_validator.validator.dicom_info import DicomInfo
from dicom_validator.validator.error_handler import NullValidationResultHandler

LIST = re.compile(r"<strong>Enumerated Values:</strong>\s*</p>\s*<dl>(.*?)</dl>", re.S)
TERM = re.compile(r"<dt>\s*<span>(.*?)</span>\s*</dt>", re.S)
CONTENT = "sr-document-content"
CHILDREN = "(0040,A730)"  # Content Sequence: its items are content items again
MACROS = {  # PS3.3, Table C.17-5: what an item holds besides, by its value type; the package has lost the condition
    "NUM": "numeric-measurement",
    "CODE": "code",
    "COMPOSITE": "composite-object-reference",
    "IMAGE": "image-reference",
    "WAVEFORM": "waveform-reference",
    "SCOORD": "spatial-coordinates",
    "SCOORD3D": "3d-spatial-coordinates",
    "TCOORD": "temporal-coordinates",
    "CONTAINER": "container",
}


def read(name):
    """A table of the package, which puts its data beside the environment's and not into a module."""
    files = importlib.metadata.distribution("dicom-standard").files or ()
    place = next(file for file in files if file.name == f"{name}.json")
    return json.loads(importlib.metadata.distribution("dicom-standard").locate_file(place).read_text(encoding="utf-8"))


def text_of(description):
    try:
        return " ".join("".join(ElementTree.fromstring(description).itertext()).split())
    except ElementTree.ParseError:
        return " ".join(unescape(re.sub(r"<[^>]*>", " ", description)).split())


def number(value):
    return int(value[:-1], 16) if value.endswith("H") else int(value)


def enumerated(description, vr):
    """Values of which one must be taken; lists for a case each ("for Value 1", "if ...") are passed over."""
    found = LIST.findall(description)
    if len(found) != 1 or vr not in {"CS", "LO", "SH", "US"}:
        return []
    terms = [term.strip() for term in TERM.findall(found[0])]
    return [{"val": [number(term) for term in terms] if vr == "US" else terms}]


def attribute_tree(rows, dictionary, parser):
    """The attributes of a module, those of sequences' items below them."""
    tree, places = {}, {}
    for row in sorted(rows, key=lambda row: row["path"].count(":")):
        known = dictionary.get(row["tag"], {})
        entry = {"name": known.get("name", ""), "type": row["type"]}
        if row["type"] in {"1C", "2C", "3"}:
            condition = parser.parse(text_of(row["description"]))
            if condition.type != "U":
                entry["cond"] = condition.result_dict()
        if values := enumerated(row["description"], known.get("vr")):
            entry["enums"] = values
        above = row["path"].rpartition(":")[0]
        home = tree if ":" not in above else places[above].setdefault("items", {})
        home[row["tag"]] = places[row["path"]] = entry
    return tree


def add_content_macros(trees, dictionary, parser):
    """Let each content item have what its value type asks for, and its children be content items."""
    rows, included = {}, []
    for row in read("macro_to_attributes"):
        rows.setdefault(row["macroId"], []).append(row)
    content, items = trees[CONTENT], trees[CONTENT][CHILDREN]["items"]
    for kind, name in MACROS.items():
        trees[name] = attribute_tree(rows[name], dictionary, parser)
        for tag in trees[name]:
            content.pop(tag, None)
            items.pop(tag, None)
        condition = parser.parse(f"Required if Value Type (0040,A040) is {kind}.")
        condition.type = ConditionType.MandatoryOrNotAllowed
        included.append({"ref": name, "cond": condition.result_dict()})
    content["include"] = included
    items["include"] = [{"ref": CONTENT}]


@cache
def standard():
    """What dicom-validator wants to know of the SOP classes that hilum writes."""
    try:
        importlib.metadata.distribution("dicom-standard")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package dicom-standard is not installed (make test)")
    dictionary = {
        row["tag"]: {"name": row["name"], "vr": row["valueRepresentation"].split(" ")[0]} for row in read("attributes")
    }
    parser = ConditionParser(dictionary)
    kinds = {kind["name"]: kind["id"] for kind in read("ciods")}
    wanted = {
        sop["id"]: kinds[sop["ciod"]]
        for sop in read("sops")
        if sop["ciod"] in {"Comprehensive 3D SR", "Enhanced SR", "Secondary Capture Image"}
    }
    names = {module["id"]: module["name"] for module in read("modules")}
    iods, used = {}, set()
    usage = read("ciod_to_modules")
    for uid, kind in wanted.items():
        modules = {}
        for row in usage:
            if row["ciodId"] == kind:
                modules[names[row["moduleId"]]] = entry = {"ref": row["moduleId"], "use": row["usage"]}
                used.add(row["moduleId"])
                if row["conditionalStatement"]:
                    entry["cond"] = parser.parse(row["conditionalStatement"]).result_dict()
        iods[uid] = {"title": kind, "modules": modules, "group_macros": {}}
    rows = {}
    for row in read("module_to_attributes"):
        if row["moduleId"] in used:
            rows.setdefault(row["moduleId"], []).append(row)
    trees = {name: attribute_tree(found, dictionary, parser) for name, found in rows.items()}
    add_content_macros(trees, dictionary, parser)
    return DicomInfo(dictionary, iods, trees)


def faults(path):
    """What dicom-validator finds in a file: module, tag, what is wrong."""
    (result,) = DicomFileValidator(standard(), error_handler=NullValidationResultHandler()).validate(path).values()
    return [
        f"{module} {tag}: {error}" for module, found in result.module_errors.items() for tag, error in found.items()
    ]
