"""Structured reports as other programs read them: highdicom, dciodvfy, dsrdump and the parser of OHIF."""

import io
import json
import logging
import os
import re
import shutil
import subprocess
import tarfile
import warnings
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

pytest.importorskip("highdicom", reason="the extra [node] is not installed")

import highdicom
import pydicom
from pydicom.sr.coding import Code
from pydicom.uid import UID, Comprehensive3DSRStorage, EnhancedSRStorage

import hilum
from dicom_objects import encoded
from hilum.errors import ImageError, UsageError
from hilum.serving.derived_object import KEYWORDS, read_source
from hilum.serving.dicom_codes import label_term
from hilum.serving.structured_report import ReportedImage, result_objects
from places import ROOT
from reported_images import (
    ANSWERS,
    CERTIFIED,
    DATA_ERROR,
    IDENTIFIERS,
    JAPANESE,
    KOREAN,
    NOW,
    SOURCES,
    WHOLE,
    again,
    as_file,
    changed,
    complaints,
    heatmap,
    objects,
    source,
    tool,
)

TRIAGE = Code("TRIAGE", "99HILUM", "Triage decision")
DECISIONS = {"flag": "FLAG", "read": "READ", "clear": "CLEAR", "abstain": "ABSTAIN", "undecided": "UNDECIDED"}
PLACES = [Path(os.environ.get("HILUM_DCMJS", "nowhere")), ROOT.parent / "shared" / "dcmjs-0.51.1.tgz"]
DCMJS = next((place for place in PLACES if place.is_file()), None)
WALK = Path(__file__).parent / "dcmjs_tree.cjs"


def group_of(dataset):
    """The measurement group, as highdicom reads it."""
    form = highdicom.sr.EnhancedSR if dataset.SOPClassUID == EnhancedSRStorage else highdicom.sr.Comprehensive3DSR
    (group,) = form.from_dataset(dataset).content.get_image_measurement_groups()
    return group


def said(dataset):
    """All texts of a report, by the meaning of their names."""
    found = {}

    def walk(item):
        if item.ValueType == "TEXT":
            found.setdefault(item.ConceptNameCodeSequence[0].CodeMeaning, []).append(item.TextValue)
        for child in item.get("ContentSequence", ()):
            walk(child)

    walk(dataset)
    return found


@pytest.mark.parametrize("enhanced", [False, True], ids=["3D", "enhanced"])
@pytest.mark.parametrize("which", ANSWERS)
def test_highdicom_reads_the_same_numbers_and_decisions(which, enhanced):
    prediction, model = ANSWERS[which]
    (made,) = objects(which, enhanced=enhanced)
    read = again(made)
    assert read.SOPClassUID == (EnhancedSRStorage if enhanced else Comprehensive3DSRStorage)
    group = group_of(read)
    numbers = [item.value / 100 for item in group.get_measurements()]
    assert numbers == pytest.approx(list(prediction.probabilities.values()), abs=1e-12)
    assert {item.unit.value for item in group.get_measurements()} <= {"%"}
    for item in group.get_measurements():  # OHIF draws a number only beside coordinates of its own
        (region,) = item.referenced_coordinates
        assert region.value.tolist() == [[0, 0], [100, 0], [100, 160], [0, 160], [0, 0]]
        assert region.ContentSequence[0].referenced_sop_instance_uid == IDENTIFIERS["SOPInstanceUID"]
    (triage,) = group.get_qualitative_evaluations(TRIAGE)
    assert triage.value.value == ("REFUSED" if prediction.error else DECISIONS[prediction.decision])
    for name, found in prediction.findings.items():
        term = label_term(model, name)
        (each,) = group.get_qualitative_evaluations(Code(term.code, term.scheme, term.meaning))
        assert each.value.value == DECISIONS[found.decision]
    (image,) = group.source_images
    assert image.referenced_sop_instance_uid == IDENTIFIERS["SOPInstanceUID"]


@pytest.mark.parametrize(
    ("which", "code"),
    [
        ("flagged", "75570004"),  # viral pneumonia
        ("cleared", "408573005"),  # imaging result normal
        ("undecided", "53084003"),  # bacterial pneumonia
        ("flagged, though most likely normal", None),
        ("abstained", None),
        ("several findings", None),
        ("refused: a leg", None),
    ],
)
def test_a_finding_is_named_only_where_the_decision_allows_it(which, code):
    found = group_of(again(objects(which)[0])).finding_type
    assert (found.value if found else None) == code


def test_a_code_of_eighteen_digits_is_a_long_one():
    labels = ["normal", "covid"]
    model = changed(
        labels=labels, label_name={}, positive_label=None, operating_point=None, certificate=None, tree=[], maps=[]
    )
    prediction = replace(ANSWERS["undecided"][0], label="covid", probabilities={"normal": 0.1, "covid": 0.9})
    (made,) = result_objects(ReportedImage(prediction, source()), model, now=NOW)
    text = str(again(made))
    assert "Long Code Value" in text
    assert group_of(again(made)).finding_type.value == "882784691000119100"


def test_it_says_who_answered_and_that_nobody_has_verified_it():
    made = again(objects()[0])
    assert (made.PreliminaryFlag, made.VerificationFlag, made.CompletionFlag) == (
        "PRELIMINARY", "UNVERIFIED", "COMPLETE",
    )  # fmt: skip
    words = said(made)
    assert words["Algorithm Name"] == [CERTIFIED.name]
    assert hilum.__version__ in words["Algorithm Version"][0]
    assert CERTIFIED.sha256 in words["Algorithm Parameters"][0]
    assert words["Reason of the triage decision"] == [ANSWERS["flagged"][0].reason]
    (observer,) = highdicom.sr.Comprehensive3DSR.from_dataset(made).content.get_observer_contexts()
    assert observer.observer_type == Code("121007", "DCM", "Device")
    mine = objects(device_uid="1.2.3.4")[0]
    (observer,) = highdicom.sr.Comprehensive3DSR.from_dataset(again(mine)).content.get_observer_contexts()
    assert observer.observer_identifying_attributes.uid == "1.2.3.4"


def test_refusals_notes_and_errors_in_the_training_data_are_said():
    words = said(again(objects("refused: a leg")[0]))
    assert words["Reason of the triage decision"] == [ANSWERS["refused: a leg"][0].error]
    assert ANSWERS["cleared"][0].notes[0] in said(again(objects("cleared")[0]))["Comment"]
    assert said(again(objects("of misleading data")[0]))["Error in the model's training data"] == [DATA_ERROR]
    findings = said(again(objects("several findings")[0]))["Reason of the triage decision"]
    assert len(findings) == len(set(findings)) > 1


@pytest.mark.parametrize("which", ["refused: a leg", "refused: a lateral view", "refused: damaged"])
def test_a_refused_image_gets_a_report_without_numbers_and_without_a_heatmap(which):
    (made,) = objects(which, picture=heatmap())
    assert b"NUM " not in as_file(made)


def test_the_evidence_is_the_image_in_its_series():
    made = highdicom.sr.Comprehensive3DSR.from_dataset(again(objects()[0]))
    (evidence,) = made.get_evidence()
    assert evidence[:3] == (
        IDENTIFIERS["StudyInstanceUID"], IDENTIFIERS["SeriesInstanceUID"], IDENTIFIERS["SOPInstanceUID"],
    )  # fmt: skip
    assert made.StudyInstanceUID == IDENTIFIERS["StudyInstanceUID"]
    assert made.SeriesInstanceUID != IDENTIFIERS["SeriesInstanceUID"]


def test_the_region_is_the_whole_image_and_absent_where_its_size_is_unknown(tmp_path):
    for given in (source(), source(Rows=None, Columns=None)):
        made = again(objects(source=given)[0])
        items = group_of(made)[0].ContentSequence
        regions = [list(item.GraphicData) for item in items if item.ValueType == "SCOORD"]
        assert regions == ([[0, 0, 100, 0, 100, 160, 0, 160, 0, 0]] if "Rows" in given else [])
        (tmp_path / "x.dcm").write_bytes(as_file(made))
        assert complaints(tmp_path / "x.dcm") == []


def test_the_same_answer_gives_the_same_bytes_and_the_clock_changes_no_uid():
    first, second = objects(picture=heatmap()), objects(picture=heatmap())
    assert [as_file(one) for one in first] == [as_file(one) for one in second]
    earlier = objects(picture=heatmap(), now=datetime(1999, 12, 31))
    for one, other in zip(first, earlier, strict=True):
        assert as_file(one) != as_file(other)
        assert (one.SOPInstanceUID, one.SeriesInstanceUID) == (other.SOPInstanceUID, other.SeriesInstanceUID)
    uids = re.compile(rb"2\.25\.\d+")
    assert set(uids.findall(as_file(first[0]))) == set(uids.findall(as_file(earlier[0])))


def test_every_object_has_a_uid_and_a_series_of_its_own():
    made = [
        *objects(picture=heatmap()),
        *objects(enhanced=True),
        *objects("refused: a leg"),
        *objects("several findings", picture=heatmap()),
        *objects(source=source(SOPInstanceUID="1.2.840.99999.1.2.4"), picture=heatmap()),
    ]
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert len({one[keyword].value for one in made}) == len(made)
    assert all(UID(one.SOPInstanceUID).is_valid and one.SOPInstanceUID.startswith("2.25.") for one in made)
    same = ("PatientID", "PatientName", "StudyInstanceUID", "StudyDate", "AccessionNumber")
    assert all(one[keyword].value == WHOLE.get(keyword, IDENTIFIERS.get(keyword)) for one in made for keyword in same)


def test_nothing_is_taken_over_but_what_the_standard_asks_for():
    for made in objects(picture=heatmap()):
        content = as_file(made)
        for keyword in SOURCES["whole"].keys() - set(KEYWORDS):
            assert str(WHOLE[keyword]).encode() not in content, keyword
        for keyword in WHOLE.keys() & set(KEYWORDS):
            assert str(made[keyword].value) == WHOLE[keyword]


@pytest.mark.parametrize(("header", "name"), [("Japanese", JAPANESE), ("Korean", KOREAN)])
def test_names_in_other_scripts_become_utf_8(header, name, tmp_path):
    file = tmp_path / "x.dcm"
    file.write_bytes(encoded(source(header)))
    assert name.split("=")[1].encode() not in file.read_bytes()
    for given in (pydicom.dcmread(file), read_source(file)):
        for made in map(again, objects(source=given, picture=heatmap())):
            assert made.SpecificCharacterSet == "ISO_IR 192"
            assert str(made.PatientName) == name
            assert name.encode() in as_file(made)


def test_malformed_values_are_left_empty_and_told_to_nobody(caplog, capfd):
    given = pydicom.dcmread(io.BytesIO(encoded(source("malformed"))))
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    capfd.readouterr()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        (made,) = objects(source=given)
    assert not any((made.PatientBirthDate, made.PatientSex, made.StudyDate, made.StudyTime))
    assert made.PatientName == "Secret"
    told = caplog.text + "".join(capfd.readouterr()) + "".join(str(one.message) for one in warned)
    assert not {"Secret", "31.12.2025", "1950", "25:00"} & set(re.findall(r"[\w.:]+", told))


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID"])
def test_an_image_without_an_identifier_is_refused(keyword):
    for wrong in ("", "no uid", "1.2." + "3" * 64, "1.02.3"):
        with pytest.raises(ImageError, match=keyword) as caught:
            objects(source=source(**{keyword: wrong}))
        assert caught.value.code == "no-identifier"
    given = source()
    del given[keyword]
    with pytest.raises(ImageError, match=keyword):
        objects(source=given)


def test_other_classes_own_objects_and_wrong_device_uids_are_refused():
    with pytest.raises(ImageError) as caught:
        objects(source=source(SOPClassUID="1.2.3.4.5"))
    assert caught.value.code == "sop-class"
    for made in objects(picture=heatmap()):
        with pytest.raises(ImageError) as caught:
            objects(source=made)
        assert caught.value.code == "own-object"
    with pytest.raises(UsageError):
        objects(device_uid="mine")


def test_the_heatmap_has_the_pixels_that_were_given():
    picture = heatmap()
    made = again(objects(picture=picture)[1])
    assert (made.pixel_array == picture).all()
    assert (made.Modality, made.BurnedInAnnotation, made.BodyPartExamined) == ("OT", "YES", "CHEST")
    assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == IDENTIFIERS["SOPInstanceUID"]


def test_long_and_odd_names_of_models_and_labels_fit():
    label = "a finding\\with \x1b[31m a name " + "of many letters " * 20
    model = changed(
        name="model " * 100,
        labels=["normal", label],
        label_name={},
        positive_label=None,
        operating_point=None,
        certificate=None,
        tree=[],
        maps=[],
    )
    prediction = replace(ANSWERS["undecided"][0], label=label, probabilities={"normal": 0.1, label: 0.9})
    (made,) = result_objects(ReportedImage(prediction, source()), model, now=NOW)
    group = group_of(again(made))
    assert [item.value for item in group.get_measurements()] == [10, 90]
    assert len(group.finding_type.meaning) <= 64
    assert not {"\\", "\x1b"} & set(group.finding_type.meaning)


@pytest.mark.parametrize("which", ["flagged", "several findings", "refused: a leg"])
def test_dsrdump_shows_it_whole(which, tmp_path):
    (tmp_path / "x.dcm").write_bytes(as_file(objects(which)[0]))
    command = [tool("dsrdump", "dcmtk"), "+Pl", str(tmp_path / "x.dcm")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not re.findall(r"^[EF]: .*", result.stderr, re.MULTILINE)
    prediction, _ = ANSWERS[which]
    assert result.stdout.count("<contains NUM:") == len(prediction.probabilities)
    assert (prediction.error or prediction.reason) in result.stdout
    assert "PRELIMINARY" in result.stdout


@pytest.mark.skipif(DCMJS is None, reason="no dcmjs here: npm pack it, HILUM_DCMJS names the file")
@pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js on this machine")
@pytest.mark.parametrize("which", ["flagged", "several findings", "refused: a leg"])
def test_the_parser_of_ohif_reads_the_tree(which, tmp_path):
    with tarfile.open(DCMJS) as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "x.dcm").write_bytes(as_file(objects(which, "Japanese")[0]))
    command = ["node", str(WALK), str(tmp_path / "package" / "build" / "dcmjs.js"), str(tmp_path / "x.dcm")]
    read = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert [read["patient"][0][key] for key in ("Alphabetic", "Ideographic", "Phonetic")] == JAPANESE.split("=")
    (measurements,) = (item for item in read["tree"]["children"] if item["name"] == "Imaging Measurements")
    (group,) = measurements["children"]
    prediction, _ = ANSWERS[which]
    numbers = [item["value"] / 100 for item in group["children"] if item["type"] == "NUM"]
    assert numbers == pytest.approx(list(prediction.probabilities.values()), abs=1e-12)
    (image,) = (item["image"] for item in group["children"] if item["type"] == "IMAGE")
    assert image == IDENTIFIERS["SOPInstanceUID"]
    texts = [item["value"] for item in group["children"] if item["type"] == "TEXT"]
    assert (prediction.error or prediction.reason) in texts
