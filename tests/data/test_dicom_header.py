"""What tables take from DICOM headers, and that datasets of DICOM are like any other."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from hilum.auditing.scan import scan
from hilum.data.cache import open_images
from hilum.data.dataset import Dataset, Row, write_csv
from hilum.data.options import ReadOptions
from hilum.data.preprocessing import Preprocessing
from hilum.data.readers.read import read_table, with_headers
from hilum.errors import ExtraError
from hilum.progress import Progress
from wording import numbers

pydicom = pytest.importorskip("pydicom", reason="the extra [dicom] is not installed")

from dicom_objects import encoded, radiograph  # noqa: E402


def table_of(folder, *objects, labels=("a", "b"), **values):
    """A table of these objects, given as elements, one file each."""
    rows = []
    for number, elements in enumerate(objects):
        (folder / f"{number}.dcm").write_bytes(encoded(radiograph(**elements)))
        rows.append(Row(f"{number}.dcm", labels[number % len(labels)], **values))
    return Dataset(folder, tuple(rows))


def test_a_patient_is_one_and_never_named(tmp_path):
    people = ["4711", "4711 ", "0815", "4711", "ANONYMOUS", ""]
    issuers = ["", "", "", "Elsewhere", "", ""]
    objects = [{"PatientID": a, "IssuerOfPatientID": b or None} for a, b in zip(people, issuers, strict=True)]
    found = with_headers(table_of(tmp_path, *objects))
    ids = [row.patient_id for row in found.rows]
    assert ids[0] == ids[1]
    assert len({*ids[:4]}) == 3
    assert ids[4:] == ["", ""]
    write_csv(tmp_path / "split.csv", found.rows)
    for text in ((tmp_path / "split.csv").read_text(), " ".join(found.notes), repr(found)):
        assert "4711" not in text
        assert "Secret" not in text


def test_pseudonyms_are_the_same_everywhere_but_for_a_key(tmp_path, monkeypatch):
    table = table_of(tmp_path, {"PatientID": "1"}, {"PatientID": "2"})
    plain = [row.patient_id for row in with_headers(table).rows]
    assert plain == [row.patient_id for row in with_headers(table).rows]
    from hilum.data import bounded

    monkeypatch.setenv("HILUM_PATIENT_KEY", "a secret of this study")
    bounded._workers.end()  # those that run have the environment from before
    keyed = [row.patient_id for row in with_headers(table).rows]
    bounded._workers.end()
    assert not set(keyed) & set(plain)
    assert len(set(keyed)) == 2


def test_what_the_table_states_stays(tmp_path):
    table = table_of(tmp_path, {"ViewPosition": "PA", "PatientSex": "F"}, {}, patient_id="p", extra={"View": "AP"})
    row = with_headers(table).rows[0]
    assert row.patient_id == "p"
    assert row.extra == {"View": "AP", "sex": "F"}


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"ViewPosition": "PA", "PatientAge": "045Y", "PatientSex": "M"}, {"view": "PA", "age": "45", "sex": "M"}),
        ({"ViewPosition": "LLAT", "PatientAge": "006M"}, {"view": "LL", "age": "0.5"}),
        ({"PatientAge": "097Y"}, {"age": "90"}),
        ({"ViewPosition": "SMITH", "PatientAge": "Smi", "PatientSex": "JOHN"}, {}),
        ({}, {}),
    ],
)
def test_views_ages_and_sexes_are_columns(tmp_path, elements, expected):
    table = with_headers(table_of(tmp_path, {"PatientID": "1", **elements}, {"PatientID": "2"}))
    assert table.rows[0].extra == expected


def test_a_view_may_be_a_code_and_lateral_ones_are_counted(tmp_path):
    code = pydicom.Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "399173006", "SCT", "left lateral"
    table = with_headers(
        table_of(tmp_path, {"ViewCodeSequence": [code]}, {"ViewPosition": "RL"}, {"ViewPosition": "PA"})
    )
    assert [row.extra["view"] for row in table.rows] == ["LL", "RL", "PA"]
    assert sum("2 lateral views" in note for note in table.notes) == 1
    assert len(table) == 3


def test_one_patient_of_all_labels_is_nobody(tmp_path):
    found = with_headers(table_of(tmp_path, *[{"PatientID": "X1"}] * 4))
    assert {row.patient_id for row in found.rows} == {""}
    assert len(found.notes) == 1


def with_column(folder, people, column):
    """A table of these PatientIDs, with what a column calls some of them."""
    table = table_of(folder, *[{"PatientID": person} for person in people])
    rows = zip(table.rows, column, strict=True)
    return replace(table, rows=tuple(replace(row, patient_id=name) for row, name in rows))


def test_a_person_whom_the_column_names_on_some_rows_is_one_patient(tmp_path):
    found = with_headers(with_column(tmp_path, "AAABBB", ["a", "", "", "", "", ""]))
    ids = [row.patient_id for row in found.rows]
    assert ids[:3] == ["a"] * 3
    assert len({*ids[3:]}) == 1
    assert ids[3].startswith("dicom:")


def test_a_person_whom_the_column_names_differently_keeps_the_pseudonym(tmp_path):
    ids = [row.patient_id for row in with_headers(with_column(tmp_path, "AAAB", ["a", "b", "", ""])).rows]
    assert ids[:2] == ["a", "b"]
    assert all(name.startswith("dicom:") for name in ids[2:])


@pytest.mark.parametrize("people", ["ABCD", "AAAA"])
def test_a_full_column_leaves_nothing_to_take_or_to_say(tmp_path, people):
    table = with_column(tmp_path, people, list("abcd"))
    found = with_headers(table)
    assert [row.patient_id for row in found.rows] == list("abcd")
    assert found.notes == ()


def test_only_what_was_taken_is_counted(tmp_path, snapshot):
    (note,) = with_headers(with_column(tmp_path, "ABCDEF", ["a", "", "", "", "", ""])).notes
    snapshot(note)
    assert {"5"} <= numbers(note)
    assert {"5"} <= numbers(note)


def test_patients_none_takes_no_patient_but_the_rest(tmp_path):
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(2):
            elements = {"PatientID": f"{label}{number}", "ViewPosition": "PA"}
            (tmp_path / label / f"{number}.dcm").write_bytes(encoded(radiograph(**elements)))
    assert read_table(tmp_path).patients_known
    table = read_table(tmp_path, ReadOptions(patients="none"))
    assert {row.patient_id for row in table.rows} == {""}
    assert {row.extra["view"] for row in table.rows} == {"PA"}
    assert not any("patient" in note.lower() for note in table.notes)


def test_reading_headers_is_shown(tmp_path):
    class Told(Progress):
        def __init__(self):
            self.done = 0

        @contextmanager
        def task(self, title, total):
            def advance(done):
                self.done += done

            yield advance
            assert self.done == total

    write_csv(tmp_path / "metadata.csv", table_of(tmp_path, *[{"PatientID": f"{i}"} for i in range(1, 5)]).rows)
    read_table(tmp_path, progress=(told := Told()))
    assert told.done == 4


@pytest.mark.parametrize("person", ["REMOVED", "de-identified", "Patient ID", "n/a", "0000", "NaN", "No_ID"])
def test_what_de_identification_leaves_is_nobody(tmp_path, person):
    found = with_headers(table_of(tmp_path, {"PatientID": person}, {"PatientID": "P7"}))
    assert [bool(row.patient_id) for row in found.rows] == [False, True]


def test_a_table_of_other_files_stays_as_it_is(write_dataset):
    table = read_table(write_dataset())
    assert with_headers(table) is table


@pytest.mark.parametrize("ending", [".png", "", ".dcm"])
def test_objects_under_any_name_are_found(tmp_path, ending):
    for number in range(40):
        name = f"{number}.png" if number != 17 else f"17{ending}"
        (tmp_path / name).write_bytes(encoded(radiograph(PatientID=f"P{number}")))
    table = Dataset(tmp_path, tuple(Row(file.name, "ab"[i % 2]) for i, file in enumerate(sorted(tmp_path.iterdir()))))
    found = with_headers(table)
    assert len(set(found.patients())) == 40
    assert found.patients_known
    assert len(found.notes) == 2  # of the patients, and of the names


def test_a_damaged_header_is_left_to_decoding(tmp_path):
    table = table_of(tmp_path, {"PatientID": "1"}, {"PatientID": "2"})
    (tmp_path / "1.dcm").write_bytes((tmp_path / "1.dcm").read_bytes()[:150])
    assert [bool(row.patient_id) for row in with_headers(table).rows] == [True, False]
    (tmp_path / "1.dcm").unlink()
    assert not with_headers(table).rows[1].patient_id


def test_without_the_extra_there_is_one_message(tmp_path, monkeypatch, refuses):

    monkeypatch.setattr("hilum.extras.find_spec", lambda name: None)
    with refuses(ExtraError, "extra"):
        with_headers(table_of(tmp_path, {}, {}))


@pytest.fixture(scope="module")
def both(squares, tmp_path_factory):
    """The same dataset as PNG and as DICOM in folders; of the latter every third file has no ending."""
    from PIL import Image

    root = tmp_path_factory.mktemp("dicom") / "data"
    for number, file in enumerate(sorted(squares.rglob("*.png"))):
        pixels = np.asarray(Image.open(file))
        target = (root / file.relative_to(squares)).with_suffix(".dcm" if number % 3 else "")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(encoded(radiograph(pixels, PatientID=f"{file.parent}-{int(file.stem) // 2}")))
    return squares, root


def test_dicom_folders_decode_and_are_audited_like_png(both):
    images, objects = (read_table(root) for root in both)
    assert len(objects) == len(images)
    assert objects.counts() == images.counts()
    assert objects.patients_known
    assert len(set(objects.patients())) == len(objects) / 2
    plan = Preprocessing(size=48)
    np.testing.assert_array_equal(open_images(objects, plan).pixels, open_images(images, plan).pixels)
    one, other = scan(images), scan(objects)
    assert one.pixels == other.pixels
    assert {container.format for container in other.containers} == {"DICOM"}
    assert not other.unreadable


@pytest.mark.slow
def test_a_model_trains_on_dicom_and_answers_what_training_saw(both, tmp_path):
    from hilum.evaluation.inference import predict
    from hilum.exporting.export import export
    from hilum.serving.predictor import Predictor
    from hilum.training.recipe import load_recipe
    from hilum.training.train import train
    from training_runs import COMPACT

    run = train(both[1], tmp_path / "run", load_recipe("compact", [*COMPACT, "epochs=1", "early_size=0"]))
    split = (tmp_path / "run" / "split.csv").read_text()
    assert split.count("dicom:") == len(read_table(both[1]))
    export(run, tmp_path / "model.onnx")
    table = read_table(both[1])
    images = open_images(
        table.take([i for i, row in enumerate(table.rows) if row.split == "test"]), run.recipe.preprocessing
    )
    predictor = Predictor(tmp_path / "model.onnx")
    answers = predictor.predict_many([table.file(row) for row in images.table.rows])
    for answer, expected in zip(answers, predict(run, images, run.labels), strict=True):
        assert list(answer.probabilities.values()) == pytest.approx(list(expected), abs=1e-4)
