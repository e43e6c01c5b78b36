"""Reliance on shortcuts: a network whose answer is a known sum gives known shares; elsewhere nothing is found."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from hilum.data.dataset import Dataset, Row
from hilum.data.multilabel import with_findings
from hilum.data.preprocessing import Preprocessing
from hilum.data.readers.read import read_table
from hilum.evaluation import reliance
from hilum.evaluation.reliance import measure_findings_reliance, measure_reliance
from hilum.report.evaluation_console import reliance_sentence, relied_on
from wording import numbers

LABELS = ("normal", "infected/covid", "infected/non-covid")
SIDE = 48
RUN = SimpleNamespace(path="run", preprocessing=Preprocessing(size=SIDE))


def dataset(root, draw, *, patients=16, labels=LABELS[:2], images=1, seed=0):
    """Noise of a mean of 100; `draw` changes it by label."""
    root.mkdir(parents=True, exist_ok=True)
    generator, rows = np.random.default_rng(seed), []
    for label in labels:
        for patient in range(patients):
            for image in range(images):
                pixels = draw(label, generator.normal(100, 4, (SIDE, SIDE)), generator)
                path = f"{label.replace('/', '-')}-{patient}-{image}.png"
                Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8)).save(root / path)
                rows.append(Row(path, label, "test", f"{label}-{patient}"))
    return Dataset(root, rows)


def network(monkeypatch, *, corner=0.0, centre=0.0, labels=2):
    """Log-odds of the last label are a weighted sum of the means of the upper left corner and of the centre."""

    def predict(run, images, names, progress=None):
        pixels = images.pixels.astype(float)
        score = corner * (pixels[:, :8, :8].mean(axis=(1, 2)) - 100)
        score += centre * (pixels[:, 18:30, 18:30].mean(axis=(1, 2)) - 100)
        answer = 1 / (1 + np.exp(-score))
        return np.stack([*[(1 - answer) / (labels - 1)] * (labels - 1), answer], axis=1)

    monkeypatch.setattr(reliance, "predict", predict)


def bright(corner, centre):
    def draw(label, pixels, generator):
        if label == LABELS[1]:
            pixels[:8, :8] += corner
            pixels[18:30, 18:30] += centre
        return pixels

    return draw


def found(measured, name, label=LABELS[1]):
    return next(entry for entry in measured.labels[label].found if entry.name == name)


@pytest.mark.parametrize(("corner", "share"), [(40, 1.0), (20, 2 / 3), (0, 0.0)])
def test_the_share_is_that_of_the_shortcut_in_a_known_sum(tmp_path, monkeypatch, corner, share):
    network(monkeypatch, corner=0.1, centre=0.05)
    centre = 0 if share == 1 else 20
    measured = measure_reliance(RUN, dataset(tmp_path / "d", bright(corner, centre)), LABELS[:2])
    entry = found(measured, "corner marks")
    margin = 0.1 * corner + 0.05 * centre
    assert measured.labels[LABELS[1]].margin.value == pytest.approx(margin, abs=0.05)
    assert entry.log_odds.value == pytest.approx(0.1 * corner, abs=0.05)
    assert entry.share.value == pytest.approx(share, abs=0.05)
    assert (entry.log_odds.low > 0) == bool(corner)
    assert (entry.p_value < 0.05) == bool(corner)
    assert ("corner marks" in {of.name for _, of in relied_on(measured)}) == bool(corner)
    assert ("corner marks: " in reliance_sentence(measured)) == bool(corner)
    left = found(measured, "centre blacked out").share.value
    assert left == pytest.approx(share, abs=0.05)
    assert found(measured, "all but the centre blacked out").share.value == pytest.approx(1 - share, abs=0.05)


def test_an_edit_that_harms_alike_is_no_reliance(tmp_path, monkeypatch):
    """A foreign frame may lower every margin: that is not the label travelling with it."""

    def predict(run, images, names, progress=None):
        pixels = images.pixels.astype(float)
        seam = np.abs(np.diff(pixels, axis=1)).mean(axis=(1, 2))
        score = 0.2 * (pixels[:, 18:30, 18:30].mean(axis=(1, 2)) - 110) / (1 + seam)
        answer = 1 / (1 + np.exp(-score))
        return np.stack([1 - answer, answer], axis=1)

    monkeypatch.setattr(reliance, "predict", predict)
    shades = iter(range(40, 40 + 6 * 32, 6))

    def draw(label, pixels, generator):
        pixels[:5] = next(shades)
        return bright(0, 20)(label, pixels, generator)

    measured = measure_reliance(RUN, dataset(tmp_path / "d", draw), LABELS[:2])
    change = found(measured, "frame").log_odds
    assert change.low < 0.1
    assert abs(change.value) < 0.2 * measured.labels[LABELS[1]].margin.value


def test_each_patient_is_in_one_block_and_images_of_a_patient_count_once(tmp_path, monkeypatch):
    network(monkeypatch, corner=0.1)
    table = dataset(tmp_path / "d", bright(30, 0), images=3)
    measured = measure_reliance(RUN, table, LABELS[:2])
    assert measured.labels[LABELS[1]].n_patients == 32
    assert list(measured.labels) == [LABELS[1]]  # of two labels the log-odds of one are those of the other
    assert list(measure_reliance(RUN, table, LABELS[:2], positive_label="normal").labels) == ["normal"]
    twice = replace(table, rows=[*table.rows, *table.rows])
    again = measure_reliance(RUN, twice, LABELS[:2])
    assert again.labels[LABELS[1]].n_patients == 32
    for block in reliance._blocks(table, LABELS[1], 30):
        assert len({row.patient_id for rows in block for row in rows}) == 4
        assert [rows[0].label == LABELS[1] for rows in block] == [True, True, False, False]


def test_properties_in_which_images_do_not_differ_are_named(tmp_path, monkeypatch):
    network(monkeypatch, corner=0.1)
    measured = measure_reliance(RUN, dataset(tmp_path / "d", bright(30, 0)), LABELS[:2])
    assert measured.constant == ["borders", "compression", "aspect"]


def test_three_labels_are_measured_and_corrected_together(tmp_path, monkeypatch):
    network(monkeypatch, corner=0.1, labels=3)
    measured = measure_reliance(RUN, dataset(tmp_path / "d", bright(30, 0), labels=LABELS), LABELS)
    assert list(measured.labels) == list(LABELS)
    swaps = [e for part in measured.labels.values() for e in part.found if e.kind == "swap"]
    for entry in swaps:
        assert entry.p_value <= entry.p_corrected <= 1
    assert min(e.p_corrected for e in swaps) == pytest.approx(min(1, len(swaps) * min(e.p_value for e in swaps)))


def test_too_few_patients_one_label_and_missing_files_are_told(tmp_path, monkeypatch, snapshot):
    network(monkeypatch, corner=0.1)
    few = measure_reliance(RUN, dataset(tmp_path / "few", bright(30, 0), patients=5), LABELS[:2])
    assert not few.labels
    assert few.not_scored == list(LABELS[:2])
    snapshot(reliance_sentence(few))
    assert {"12"} <= numbers(reliance_sentence(few))
    one = measure_reliance(RUN, dataset(tmp_path / "one", bright(30, 0), labels=LABELS[1:2]), LABELS[:2])
    assert one.note
    gone = dataset(tmp_path / "gone", bright(30, 0))
    for file in (tmp_path / "gone").iterdir():
        file.unlink()
    assert "removed or changed" in measure_reliance(RUN, gone, LABELS[:2]).note


def test_images_of_one_colour_have_no_margin_and_no_share(tmp_path, monkeypatch, snapshot):
    network(monkeypatch, corner=0.1)
    measured = measure_reliance(RUN, dataset(tmp_path / "d", lambda label, pixels, _: 0 * pixels + 100), LABELS[:2])
    for entry in measured.labels[LABELS[1]].found:
        assert entry.share.value is None
        assert entry.p_value == 1
    snapshot(reliance_sentence(measured))


def test_reliance_is_told_where_the_labels_have_no_margin_at_all(tmp_path, monkeypatch):
    """As on other data, where the model may tell nothing but the aspect."""
    network(monkeypatch, corner=0.1)
    measured = measure_reliance(RUN, dataset(tmp_path / "d", lambda label, pixels, _: 0 * pixels + 100), LABELS[:2])
    part = measured.labels[LABELS[1]]
    first = part.found[0]
    shown = first.log_odds.model_copy(update={"value": 1.0, "low": 0.5, "high": 1.5})
    entry = first.model_copy(update={"name": "aspect", "kind": "swap", "log_odds": shown, "p_corrected": 0.01})
    labels = {LABELS[1]: part.model_copy(update={"found": [entry]})}
    told = reliance_sentence(measured.model_copy(update={"labels": labels}))
    assert "aspect: infected/covid" in told


@pytest.mark.parametrize("kind", ["flat", "cascade", "ensemble"])
def test_runs_of_every_kind_are_measured(run_of, squares, kind):
    run = run_of(kind)
    table = read_table(squares)
    test = table.take([i for i, row in enumerate(table.rows) if row.split == "test"])
    measured = measure_reliance(run, test, run.labels)
    assert list(measured.labels) == list(run.labels)
    for part in measured.labels.values():
        assert part.margin.low is not None
        assert {"frame", "corner marks", "centre blacked out"} <= {entry.name for entry in part.found}


@pytest.mark.slow
def test_intervals_hold_zero_where_a_property_varies_and_says_nothing(tmp_path, monkeypatch):
    """A network that sees only a corner whose brightness differs from patient to patient, whatever the label."""
    network(monkeypatch, corner=0.1)
    held = []
    for seed in range(100):

        def draw(label, pixels, generator):
            pixels[:8, :8] += generator.choice([0, 60])
            return pixels

        measured = measure_reliance(RUN, dataset(tmp_path / str(seed), draw, seed=seed), LABELS[:2])
        change = found(measured, "corner marks").log_odds
        held.append(change.low <= 0 <= change.high)
    assert sum(held) >= 89  # of 100 by 95 %: fewer in 0.4 % of all


def test_each_finding_has_the_shortcut_that_it_rests_on(tmp_path, monkeypatch):
    """The network sees one finding by the corner and another by the centre; of a third too few patients are known."""
    generator, names = np.random.default_rng(3), ("cornered", "central", "rare")
    values = (generator.random((90, 3)) < 0.5).astype(np.float32)
    values[8:, 2] = np.nan
    rows = []
    for k, line in enumerate(values):
        pixels = generator.normal(100, 4, (SIDE, SIDE))
        pixels[:8, :8] += 60 * line[0]
        pixels[18:30, 18:30] += 60 * line[1]
        Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8)).save(tmp_path / f"{k}.png")
        rows.append(Row(f"{k}.png", "", "test", f"p{k}"))
    table = with_findings(Dataset(tmp_path, rows), names, values)

    def predict(run, images, findings, progress=None):
        pixels = images.pixels.astype(float)
        parts = pixels[:, :8, :8].mean(axis=(1, 2)), pixels[:, 18:30, 18:30].mean(axis=(1, 2))
        stated = [1 / (1 + np.exp(-0.05 * (part - 130))) for part in parts]
        return np.stack([*stated, np.full(len(pixels), 0.3)], axis=1)

    monkeypatch.setattr(reliance, "predict", predict)
    run = SimpleNamespace(**vars(RUN), findings=names)
    by_finding = measure_findings_reliance(run, table)
    relied = {name: {entry.name for _, entry in relied_on(one)} for name, one in by_finding.items()}
    assert "corner marks" in relied["cornered"]
    assert "corner marks" not in relied["central"]  # the histogram alone may tell how bright the centre is
    assert not by_finding["rare"].labels
    assert by_finding["rare"].note
    assert list(by_finding["cornered"].labels) == ["cornered"]
