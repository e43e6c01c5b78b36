"""Predictions of models that hilum did not train: the same figures as scikit-learn's, and what is refused."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn import metrics as reference

from hilum.errors import TableError, UsageError
from hilum.evaluation.external_predictions import measure_external, read_external, write_external
from hilum.evaluation.predictions import read_predictions
from hilum.evaluation.schema import Metrics

LABELS = ["normal", "infected/covid", "infected/non-covid"]


@pytest.fixture(scope="module")
def frame():
    """Three hundred images of 150 patients, answered rather well, by probabilities of six decimals."""
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 300)
    scores = generator.normal(size=(300, 3))
    scores[np.arange(300), truth] += 1.5
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    table = {
        "path": [f"{number}.png" for number in range(300)],
        "patient_id": [f"p{number // 2}" for number in range(300)],
        "label": np.array(LABELS)[truth],
        "sex": generator.choice(["F", "M"], 300),
    }
    return pd.DataFrame(table | {f"p:{label}": probabilities[:, k].round(6) for k, label in enumerate(LABELS)})


def written(frame, tmp_path, **options):
    frame.to_csv(tmp_path / "model.csv", index=False, **options)
    return tmp_path / "model.csv"


def test_the_figures_are_those_of_scikit_learn(frame, tmp_path):
    found = measure_external(read_external(written(frame, tmp_path)))
    stated = frame[[f"p:{label}" for label in found.labels]].to_numpy()
    stated = stated / stated.sum(axis=1, keepdims=True)
    answers = np.array(found.labels)[stated.argmax(axis=1)]
    assert found.accuracy.value == pytest.approx(reference.accuracy_score(frame["label"], answers))
    assert found.log_loss == pytest.approx(reference.log_loss(frame["label"], stated[:, np.argsort(found.labels)]))
    for k, label in enumerate(found.labels):
        here, called = frame["label"] == label, answers == label
        assert found.sensitivity[label].value == pytest.approx(reference.recall_score(here, called))
        assert found.specificity[label].value == pytest.approx(reference.recall_score(~here, ~called))
        assert found.ppv[label].value == pytest.approx(reference.precision_score(here, called))
        assert found.f1[label].value == pytest.approx(reference.f1_score(here, called))
        assert found.auroc[label].value == pytest.approx(reference.roc_auc_score(here, stated[:, k]))
        assert found.auroc[label].low < found.auroc[label].value < found.auroc[label].high
    assert found.positive_label == "infected/covid"
    assert found.healthy == ["normal"]
    assert found.n_patients == 150
    assert {value: part.n_images for value, part in found.subgroups["sex"].items()} == dict(
        frame["sex"].value_counts().items()
    )


def test_a_frame_a_csv_and_hilums_own_table_say_the_same(frame, tmp_path):
    of_csv = read_external(written(frame, tmp_path))
    for other in (
        frame,
        pl.DataFrame(frame.to_dict("list")),
        frame.rename(columns=lambda name: name.removeprefix("p:")),
    ):
        assert np.array_equal(read_external(other).predictions.probabilities, of_csv.predictions.probabilities)
        assert read_external(other).predictions.patients == of_csv.predictions.patients
    metrics = write_external(of_csv, measure_external(of_csv), tmp_path / "out")
    again = read_predictions(tmp_path / "out" / "predictions.csv")
    assert again.paths == of_csv.predictions.paths
    assert Metrics.read(tmp_path / "out" / "metrics.json", "") == metrics
    assert read_external(tmp_path / "out" / "predictions.csv").predictions.labels == again.labels


def test_without_patients_each_image_is_one_and_that_is_said(frame):
    found = measure_external(read_external(frame.drop(columns=["patient_id", "path"])))
    assert found.n_patients is None
    assert found.resampling_unit == "images"
    assert len(found.data.notes) == 1


def test_the_positive_label_may_be_stated(frame):
    given = read_external(frame)
    assert measure_external(given, positive_label="infected/non-covid").positive_label == "infected/non-covid"
    assert measure_external(given, positive_label="none").positive_label is None
    with pytest.raises(UsageError) as caught:
        measure_external(given, positive_label="covid")
    assert caught.value.code == "no-such-label"


def with_cell(frame, column, value):
    changed = frame.copy()
    changed[column] = changed[column].astype(object)
    changed.loc[7, column] = value
    return changed


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda frame: frame.drop(columns="label"), "no-label-column"),
        (lambda frame: frame[["path", "label"]], "no-probabilities"),
        (lambda frame: frame.drop(columns="p:normal"), "unknown-label"),
        (lambda frame: with_cell(frame, "label", "cardiomegaly"), "unknown-label"),
        (lambda frame: with_cell(frame, "label", ""), "no-label"),
        (lambda frame: with_cell(frame, "p:normal", float("nan")), "no-probability"),
        (lambda frame: with_cell(frame, "p:normal", "high"), "no-probability"),
        (lambda frame: with_cell(frame, "p:normal", 1.5), "no-probability"),
        (lambda frame: with_cell(frame, "p:normal", 0.999), "sum-not-one"),
        (lambda frame: with_cell(frame, "path", "0.png"), "contradicting-rows"),
        (lambda frame: with_cell(frame, "path", ""), "no-path"),
        (lambda frame: frame[:0], "no-rows"),
    ],
)
def test_what_cannot_be_measured_is_refused(frame, tmp_path, change, code):
    for source in (change(frame), written(change(frame), tmp_path)):
        with pytest.raises(TableError) as caught:
            read_external(source)
        assert caught.value.code == code


def test_an_image_that_is_listed_again_counts_once(frame):
    found = read_external(pd.concat([frame, frame[:3]]))
    assert len(found.predictions.paths) == len(frame)
    assert len(found.notes) == 1


def test_three_decimals_of_many_labels_are_enough():
    names = [f"label {number}" for number in range(10)]
    rows = np.random.default_rng(0).dirichlet(np.ones(10), 200).round(3)
    frame = pd.DataFrame({f"p:{name}": rows[:, k] for k, name in enumerate(names)})
    found = read_external(frame.assign(label=names[0]))
    np.testing.assert_allclose(found.predictions.probabilities.sum(axis=1), 1)
    assert len(found.predictions.paths) == 200


def test_slashes_around_labels_are_none_of_their_names():
    found = read_external(pd.DataFrame({"label": ["/a", "b/"], "/a": [0.6, 0.2], "b/": [0.4, 0.8]}))
    assert found.predictions.labels == ("a", "b")
    assert measure_external(found).accuracy.value == 1


def test_a_named_index_is_kept(frame):
    found = read_external(frame.set_index("path"))
    assert found.named
    assert found.predictions.paths == read_external(frame).predictions.paths


def test_pairing_by_rows_is_said(frame):
    from hilum.evaluation.comparison import BY_ROW, compare_external

    nameless = read_external(frame.drop(columns="path"))
    assert BY_ROW in compare_external(nameless, nameless).notes
    assert BY_ROW not in compare_external(read_external(frame), read_external(frame)).notes


@pytest.mark.parametrize("wrong", [7, [1, 2], np.zeros((2, 2)), {"label": ["a"]}])
def test_what_is_no_table_is_refused(wrong):
    with pytest.raises(UsageError) as caught:
        read_external(wrong)
    assert caught.value.code == "no-predictions"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-32-be", "cp1252"])
def test_a_table_is_read_in_the_encoding_that_it_has(frame, tmp_path, encoding):
    names = {"normal": "unauffällig", "infected/covid": "infektiös/covid"}
    spelt = frame.rename(columns={f"p:{old}": f"p:{new}" for old, new in names.items()}).replace({"label": names})
    found = read_external(written(spelt, tmp_path, encoding=encoding))
    assert set(names.values()) < set(found.predictions.labels)
    assert found.predictions.paths == read_external(frame).predictions.paths
    assert len(found.notes) == (encoding == "cp1252")


@pytest.mark.parametrize("separator", [";", "\t", ","])
def test_decimal_commas_are_read_and_said(frame, tmp_path, separator):
    plain = read_external(frame)
    columns = frame.columns[4:]
    quoted = frame.assign(**{name: frame[name].map(lambda p: f"{p:.6f}".replace(".", ",")) for name in columns})
    for source in (written(quoted, tmp_path, sep=separator), quoted):
        found = read_external(source)
        np.testing.assert_allclose(found.predictions.probabilities, plain.predictions.probabilities, atol=2e-6)
        assert len(found.notes) == 1
    if separator == ",":
        broken = (tmp_path / "model.csv").read_text().replace('"', "")
        (tmp_path / "model.csv").write_text(broken)
        with pytest.raises(TableError) as caught:
            read_external(tmp_path / "model.csv")
        assert caught.value.code == "uneven-row"


NESTED = {"list": (pl.List(pl.String), ["a"]), "object": (pl.Object, object()), "struct": (None, {"a": 1})}


@pytest.mark.parametrize("kind", [*NESTED, "binary"])
def test_columns_of_polars_that_are_no_cells_are_named(frame, kind):
    cells, value = NESTED.get(kind, (pl.Binary, b"x"))
    series = pl.Series("further", [value] * len(frame), cells)
    table = pl.DataFrame(frame.to_dict("list")).with_columns(series)
    with pytest.raises(TableError, match="further") as caught:
        read_external(table)
    assert caught.value.code == "nested-cells"
    assert read_external(table.drop("further")).predictions.labels


@pytest.mark.parametrize("prefix", ["", "p:"])
@pytest.mark.parametrize(
    ("truths", "columns"), [([1.0, 0.0], ["1", "0"]), ([1, 0], ["1.0", "0.0"]), ([True, False], ["true", "false"])]
)
def test_labels_that_are_one_number_or_truth_value_are_one(truths, columns, prefix):
    first, second = (prefix + column for column in columns)
    table = pd.DataFrame({"label": truths * 20, first: [0.9, 0.2] * 20, second: [0.1, 0.8] * 20})
    found = read_external(table)
    assert set(found.predictions.labels) == set(columns)
    assert measure_external(found).accuracy.value == 1
    assert len(found.notes) == 2
    with pytest.raises(TableError) as caught:  # a truth value is no number
        read_external(table.assign(label=["true" if truths[0] == 1.0 and columns[0] != "true" else "1", "no"] * 20))
    assert caught.value.code in ("unknown-label", "no-probabilities")


@pytest.mark.parametrize("meant", ["Normal", "norma", "NORMAL"])
@pytest.mark.parametrize("prefix", ["", "p:"])
def test_a_label_that_is_spelt_almost_like_a_column_is_refused_with_that_column(frame, meant, prefix):
    renamed = frame.rename(columns=lambda name: name.replace("p:", prefix))
    with pytest.raises(TableError, match=f"'{prefix}normal'") as caught:
        read_external(with_cell(renamed, "label", meant))
    assert caught.value.code == "unknown-label"


def test_a_column_of_a_label_that_no_row_has_is_a_label(frame):
    bare = frame.rename(columns=lambda name: name.removeprefix("p:")).assign(weight=70.5)
    found = read_external(bare[bare["label"] != "infected/covid"])
    assert set(found.predictions.labels) == set(LABELS)
    assert len(found.notes) == 1
    prefixed = frame[frame["label"] != "infected/covid"]
    assert np.array_equal(found.predictions.probabilities, read_external(prefixed).predictions.probabilities)


def test_rows_are_counted_without_comments(frame, tmp_path):
    nameless = frame.drop(columns="path")
    file = written(nameless, tmp_path)
    head, *rows = file.read_text().splitlines()
    (tmp_path / "commented.csv").write_text("\n".join(["# made by hand", head, rows[0], "# and so on", *rows[1:]]))
    paths = [read_external(source).predictions.paths for source in (file, tmp_path / "commented.csv", nameless)]
    assert paths[0] == paths[1] == paths[2]
    assert paths[0][:2] == ("row 1", "row 2")
    wrong = with_cell(nameless, "p:normal", 1.5)
    with pytest.raises(TableError, match="row 8:"):
        read_external(wrong)
    with pytest.raises(TableError, match="line 9:"):
        read_external(written(wrong, tmp_path))


def test_messages_about_a_frame_name_no_file():
    with pytest.raises(TableError) as caught:
        read_external(pd.DataFrame())
    assert "data frame" in str(caught.value)
    assert ".csv" not in str(caught.value)
