"""Images of one study become one decision, by the rule that the certificate speaks about."""

import copy
import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hilum.errors import UsageError
from hilum.evaluation.predictions import Predictions
from hilum.serving.inputs import group_files
from hilum.serving.legend import legend
from hilum.serving.model_file import open_model_file, shipped_model
from hilum.serving.prediction import Prediction, decide
from hilum.serving.predictor import Predictor
from hilum.serving.studies import decide_study, predict_studies
from wording import numbers

LABELS = ("normal", "infected/covid", "infected/non-covid")


@pytest.fixture(scope="module")
def shipped():
    return open_model_file(shipped_model())


@pytest.fixture(scope="module")
def two_sided(shipped):
    """The same with two thresholds, and one of its own for single images."""
    facts = copy.deepcopy(dict(shipped.facts))
    facts["operating_point"] |= {"threshold": 0.2, "upper_threshold": 0.7, "image_threshold": 0.1}
    facts["certificate"] |= {
        "upper": {"kind": "specificity", "bound": 0.9, "prevalence": None},
        "images": {"mean": 2.5, "max": 4, "distribution": {"2": 10, "4": 3}},
        "image_threshold": 0.1,
    }
    return replace(shipped, facts=facts)


def study(model_file, *images):
    """Of scores; a text is an image that cannot be read, and a score with one an image that is abstained on."""
    answers = []
    for number, image in enumerate(images):
        if isinstance(image, str):
            answers.append(Prediction(f"{number}.png", error=image))
            continue
        score, unlike = image if isinstance(image, tuple) else (image, "")
        found = dict(zip(LABELS, (1 - score, score, 0.0), strict=True))
        answers.append(
            Prediction(f"{number}.png", LABELS[0], "x", found, *decide(model_file, found, unlike=unlike, of_study=True))
        )
    return decide_study(model_file, "s", answers)


@pytest.mark.parametrize(
    ("images", "decision"),
    [
        ((0.01, 0.19), "clear"),
        ((0.01, 0.2), "read"),
        ((0.01, 0.7, 0.3), "flag"),
        ((0.01, "bad"), "read"),
        ((0.9, "bad"), "flag"),
        (("bad",), "read"),
        ((0.01, (0.02, "far")), "abstain"),
        ((0.3, (0.02, "far")), "abstain"),
        ((0.8, (0.9, "far")), "flag"),
        ((0.1, (0.9, "far")), "abstain"),
        ((0.01,) * 100, "clear"),
        ((*(0.01,) * 99, 0.75), "flag"),
    ],
)
def test_one_decision_of_all_images(two_sided, images, decision):
    found = study(two_sided, *images)
    assert found.decision == decision
    assert found.reason
    readable = [image[0] if isinstance(image, tuple) else image for image in images if image != "bad"]
    assert found.score == (max(readable) if readable else None)
    assert found.unreadable == images.count("bad")


def test_a_study_is_decided_about_as_the_evaluation_decides_about_patients(two_sided):
    """On 300 made-up patients of one to five images: `hilum evaluate` and `hilum predict --study` agree."""
    from hilum.evaluation.triage import decide as decide_evaluated

    generator = np.random.default_rng(0)
    patients = np.repeat(np.arange(300), generator.integers(1, 6, 300))
    scores = generator.random(len(patients)) ** 2
    reasons = ["far" if strange else "" for strange in generator.random(len(patients)) < 0.1]
    probabilities = np.stack([1 - scores, scores, np.zeros(len(scores))], axis=1)
    names = tuple(map(str, patients))
    predictions = Predictions(
        LABELS, tuple(map(str, range(len(names)))), names, np.zeros(len(names), int), probabilities
    )
    evaluated = decide_evaluated(predictions, two_sided.point, reasons)
    for patient in range(300):
        mine = np.flatnonzero(patients == patient)
        served = study(two_sided, *[(scores[i], reasons[i]) for i in mine])
        assert served.decision == evaluated.patients[mine[0]]
    for score, reason, alone in zip(scores, reasons, evaluated.images, strict=True):
        found = dict(zip(LABELS, (1 - score, score, 0.0), strict=True))
        assert decide(two_sided, found, unlike=reason)[0] == alone


@given(data=st.data())
def test_evaluation_and_serving_decide_alike(shipped, data):
    """By any thresholds or none, for any group of labels, reasons and patients: image by image, and together."""
    from hilum.evaluation.triage import decide as decide_evaluated

    low, lower, upper = sorted(data.draw(st.tuples(*[st.integers(0, 8)] * 3)))
    members = data.draw(st.sampled_from([("infected/*", LABELS[1:]), (LABELS[1], LABELS[1:2])]))
    certificate = {"group": members[0], "members": list(members[1]), "threshold": lower / 8}
    certificate |= data.draw(st.sampled_from([{}, {"upper_threshold": upper / 8}]))
    certificate |= data.draw(st.sampled_from([{}, {"image_threshold": low / 8}]))
    point = data.draw(st.sampled_from([certificate, None]))
    model_file = replace(shipped, facts={**shipped.facts, "operating_point": point})
    row = st.sampled_from([(a / 8, b / 8, (8 - a - b) / 8) for a in range(9) for b in range(9 - a)])
    image = st.tuples(row, st.sampled_from(["", "", "far"]), st.sampled_from("abc"))
    rows, reasons, patients = zip(*data.draw(st.lists(image, min_size=1, max_size=9)), strict=True)
    paths = tuple(map(str, range(len(rows))))
    predictions = Predictions(LABELS, paths, patients, np.zeros(len(rows), np.int64), np.array(rows))
    evaluated = decide_evaluated(predictions, model_file.point, reasons)

    def served(k, *, of_study):
        found = dict(zip(LABELS, rows[k], strict=True))
        decided = decide(model_file, found, unlike=reasons[k], of_study=of_study)
        return Prediction(paths[k], LABELS[0], "x", found, *decided)

    for k, patient in enumerate(patients):
        assert served(k, of_study=False).decision == evaluated.images[k]
        mine = [served(j, of_study=True) for j, name in enumerate(patients) if name == patient]
        assert decide_study(model_file, patient, mine).decision == evaluated.patients[k]


def test_an_image_by_itself_has_its_own_threshold_and_the_legend_says_so(two_sided, shipped):
    found = dict(zip(LABELS, (0.85, 0.15, 0.0), strict=True))
    assert decide(two_sided, found)[0] == "read"
    assert decide(two_sided, found, of_study=True)[0] == "clear"
    for of_study in (False, True):
        words = dict(legend(two_sided, of_study=of_study))
        assert words.keys() == {"flag", "abstain", "read", "clear"}
        assert "specificity of 90 %" in words["flag"]
    assert "--study" in dict(legend(two_sided))["clear"]
    # A model that was certified before there was one: decisions as ever, and the guarantee is withheld in words.
    facts = copy.deepcopy(dict(shipped.facts))
    facts["operating_point"] = {"group": LABELS[1], "members": [LABELS[1]], "threshold": 0.25}
    del facts["certificate"]["image_threshold"], facts["certificate"]["images"]
    before = replace(shipped, facts=facts)
    for score in (0.0, 0.24, 0.25, 1.0):
        found = dict(zip(LABELS, (1 - score, score, 0.0), strict=True))
        assert (
            decide(before, found)[0]
            == decide(before, found, of_study=True)[0]
            == ("flag" if score >= 0.25 else "clear")
        )
    assert "does not hold for single images" in dict(legend(before))["clear"]
    assert "does not hold for single images" not in dict(legend(shipped))["clear"]


@pytest.mark.parametrize("low", [4e-6, 0.0003, 0.0123, 0.12, 0.5])
@pytest.mark.parametrize("high", [None, 0.6, 0.97, 0.99997, 1.001])
def test_no_threshold_is_shown_as_another_one(two_sided, low, high):
    facts = copy.deepcopy(dict(two_sided.facts))
    facts["operating_point"] |= {"threshold": max(low, 0.12), "image_threshold": low, "upper_threshold": high}
    model_file = replace(two_sided, facts=facts)
    for value in model_file.point.thresholds:
        if value <= 1:
            shown = float(model_file.percent(value).removesuffix(" %")) / 100
            assert shown == pytest.approx(value, rel=5e-3)
            assert shown < 1
    assert all("100" not in meaning for _, meaning in legend(model_file))


def test_a_ppv_of_patients_is_no_ppv_of_single_images(two_sided):
    """A patient has four chances to be flagged, and one image has one: sensitivity, and so the PPV, is lower."""
    facts = copy.deepcopy(dict(two_sided.facts))
    facts["certificate"]["upper"] = {"kind": "ppv", "bound": 0.5, "prevalence": 0.1}
    several = replace(two_sided, facts=facts)
    assert "guaranteed PPV of 50 %" in dict(legend(several, of_study=True))["flag"]
    assert "does not hold for single images" in dict(legend(several))["flag"]
    facts = copy.deepcopy(facts)
    facts["certificate"]["images"] = {"mean": 1.0, "max": 1, "distribution": {"1": 13}}
    assert "guaranteed PPV of 50 %" in dict(legend(replace(two_sided, facts=facts)))["flag"]


def test_without_an_operating_point_a_study_is_undecided(shipped):
    facts = {**copy.deepcopy(dict(shipped.facts)), "operating_point": None, "certificate": None}
    model_file = replace(shipped, facts=facts)
    assert study(model_file, 0.1, "bad").decision == study(model_file, "bad").decision == "undecided"


def test_numbers_of_images_that_nobody_certified_are_noted(two_sided):
    assert study(two_sided, 0.1, 0.1, 0.1).notes == ()
    assert len(study(two_sided, 0.1).notes) == len(study(two_sided, *[0.1] * 5).notes) == 1


def test_a_study_of_few_images_is_noted_also_where_one_calibration_patient_had_as_few(two_sided):
    facts = copy.deepcopy(dict(two_sided.facts))
    facts["certificate"]["images"] = {"mean": 9.9, "max": 10, "distribution": {"1": 1, "10": 99}}
    rare = replace(two_sided, facts=facts)
    assert len(study(rare, 0.1).notes) == 1
    assert study(rare, *[0.1] * 10).notes == ()


@pytest.fixture
def images(squares, tmp_path):
    """Two folders of three images each."""
    files = sorted((squares / "test").rglob("*.png"))[:6]
    for number, file in enumerate(files):
        folder = tmp_path / "data" / f"study-{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / f"{number}.png")
    return tmp_path / "data"


def table(folder, rows, name="studies.csv"):
    with (folder / name).open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / name


@pytest.mark.ci
def test_folders_make_studies_and_the_command_writes_them_with_their_images(
    hilum, bundle_of, images, tmp_path, snapshot
):
    (images / "study-1" / "bad.png").write_bytes(b"")
    command = ("predict", images, "--study", "folder", "--model", bundle_of("flat"))
    result = hilum(*command, "--json", "-", "--csv", tmp_path / "t.csv", check=0)
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(one["study"], one["n_images"], one["n_unreadable"]) for one in found] == [
        (str(images / "study-0"), 3, 0),
        (str(images / "study-1"), 4, 1),
    ]
    assert [image["path"] for image in found[0]["images"]] == [str(images / "study-0" / f"{n}.png") for n in (0, 2, 4)]
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["row"] for row in rows] == ["study", *["image"] * 3, "study", *["image"] * 4]
    snapshot(result.stderr)
    assert {"2", "7"} <= numbers(hilum(*command, check=0).stdout)
    alone = hilum("predict", images / "study-1" / "bad.png", "--study", "folder", "--model", bundle_of("flat"))
    assert alone.returncode == 1


def test_scores_of_a_study_are_those_of_its_images(bundle_of, images):
    predictor = Predictor(bundle_of("flat"))
    grouped = group_files(sorted(images.rglob("*.png")), "folder")
    found = list(predict_studies(predictor, grouped.studies))
    single = {answer.path: answer for answer in predictor.predict_many(sorted(images.rglob("*.png")))}
    for one in found:
        assert one.score == max(single[answer.path].probabilities["infected/covid"] for answer in one.images)
        for answer in one.images:
            assert answer.probabilities == pytest.approx(single[answer.path].probabilities)


def test_a_table_names_images_and_what_is_missing_leaves_a_study_to_be_read(hilum, bundle_of, images, snapshot):
    rows = [(f"study-{n % 2}/{n}.png", f"x{n // 2}", f"p{n // 4}") for n in range(6)]
    file = table(images, [("path", "study", "patient_id"), *rows])
    grouped = group_files([], str(file))
    assert {name: len(files) for name, files in grouped.studies.items()} == {"x0": 2, "x1": 2, "x2": 2}
    snapshot(grouped.notes[0])
    assert {"1"} <= numbers(grouped.notes[0])
    assert len(group_files([], f"{file}:patient_id").studies) == 2
    part = group_files([images / "study-0" / "0.png"], str(file))
    assert part.missing == {"x0": [str(images / "study-1/1.png")]}
    command = ("predict", images / "study-0" / "0.png", "--study", file, "--model", bundle_of("flat"))
    found = json.loads(hilum(*command, "--json", "-", check=0).stdout)
    assert found["n_unreadable"] == 1
    assert "not among the given images" in found["images"][1]["error"]


def test_tables_that_cannot_be_used_are_refused(images, refuses):
    head, row = ("path", "study"), ("study-0/0.png", "x")
    for rows, code in (
        ([("a", "b")], "no-such-column"),
        ([("path", "b"), row], "no-such-column"),
        ([head, row, ("study-0/0.png", "y")], "two-studies"),
        ([head, ("study-0/0.png", "")], "empty-cell"),
        ([head, row], "images-not-named"),
        ([head], "no-rows"),
        ([("path", "study", "study"), (*row, "y")], "ambiguous-column"),
        ([("path", "Study", "STUDY"), (*row, "y")], "ambiguous-column"),
    ):
        with refuses(UsageError, code):
            group_files(sorted(images.rglob("*.png")), str(table(images, rows)))
    with refuses(UsageError, "no-such-column"):
        group_files([], f"{table(images, [head, row])}:z")
    with refuses(UsageError, "no-such-grouping"):
        group_files([], "months")


def test_a_column_is_the_one_that_is_written_the_same(images):
    files = sorted(images.rglob("*.png"))
    rows = [("path", "Study", "study"), *((file.relative_to(images).as_posix(), "A", "b") for file in files)]
    assert list(group_files(files, f"{table(images, rows)}:Study").studies) == ["A"]
    assert list(group_files(files, str(table(images, rows))).studies) == ["b"]


def test_a_study_of_several_patients_is_named(images, snapshot):
    files = sorted(images.rglob("*.png"))
    rows = [("path", "study", "patient_id")]
    rows += [(file.relative_to(images).as_posix(), f"s{i // 2}", f"p{max(i, 1)}") for i, file in enumerate(files)]
    found = group_files(files, f"{table(images, rows)}:study")
    assert len(found.notes) == 1
    snapshot(found.notes[0])
    assert {"2"} <= numbers(found.notes[0])


def test_a_folder_is_one_study_however_it_is_written(images, monkeypatch):
    monkeypatch.chdir(images)
    written = [Path("study-0", "0.png"), images / "study-0" / "1.png", Path("study-1", "..", "study-0", "2.png")]
    found = group_files(written, "folder")
    assert found.studies == {"study-0": written}


def test_bad_input_of_the_command_ends_in_one_message(hilum, bundle_of, images, tmp_path, one_message):
    model = bundle_of("flat")
    one_message(hilum("predict", images, "--study", "x", "--model", model), 2)
    one_message(hilum("predict", "--study", "folder", "--model", model), 2)
    command = ("predict", images, "--study", "folder", "--model", model, "--explain", tmp_path / "e")
    one_message(hilum(*command), 2)


def test_headers_make_studies_and_a_patient_of_several_is_named(tmp_path, snapshot):
    objects = pytest.importorskip("dicom_objects")
    for number, (uid, patient) in enumerate((("1.2.3", "a"), ("1.2.3", "a"), ("1.2.4", "a"), (None, "b"))):
        content = objects.encoded(objects.radiograph(StudyInstanceUID=uid, PatientID=patient))
        (tmp_path / f"{number}.dcm").write_bytes(content)
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "4.png")
    files = sorted(tmp_path.iterdir())
    found = group_files(files, "dicom")
    assert [len(group) for group in found.studies.values()] == [2, 1, 1, 1]
    assert not any("1.2.3" in name for name in found.studies)
    assert len(found.notes) == 2
    snapshot(found.notes[0])
    assert {"2", "5"} <= numbers(found.notes[0])
    snapshot(found.notes[1])
    assert {"1"} <= numbers(found.notes[1])
    by_patient = group_files(files, "patient")
    assert [len(group) for group in by_patient.studies.values()] == [3, 1, 1]
