"""Two tables of several findings: paired by finding, with Holm's correction, on what both know."""

import json
import shutil

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

from findings_tables import FINDINGS, findings_frame, known
from hilum.errors import RunError, TableError, UsageError
from hilum.evaluation.evaluate import evaluate
from hilum.evaluation.external_predictions import of_one_kind, read_external
from hilum.evaluation.findings_comparison import FindingsComparison, compare_external_findings, compare_findings
from hilum.evaluation.ood_reference import fit_reference
from hilum.stats.auc import patient_weights
from hilum.stats.intervals import Patients
from hilum.training.run import open_run
from training_runs import make_findings_run, write_findings


@pytest.fixture(scope="module")
def frame():
    return findings_frame()


@pytest.fixture(scope="module")
def worse(frame):
    """The same images in another order, by a model that is worse at one finding."""
    noise = np.random.default_rng(5).random(len(frame))
    return frame.assign(**{"p:Effusion": 0.5 * frame["p:Effusion"] + 0.5 * noise}).sample(frac=1, random_state=1)


@pytest.fixture(scope="module")
def found(frame, worse):
    return compare_external_findings(read_external(frame), read_external(worse))


def test_differences_are_of_areas_that_scikit_learn_has(frame, worse, found):
    for name, entry in found.findings.items():
        areas = [roc_auc_score(*known(table, name)) for table in (frame, worse)]
        assert entry.auroc.first.value == pytest.approx(areas[0])
        assert entry.auroc.difference.value == pytest.approx(areas[1] - areas[0])
        assert entry.n_positive == known(frame, name)[0].sum()
    mean = np.mean([entry.auroc.difference.value for entry in found.findings.values()])
    assert found.macro.auroc.difference.value == pytest.approx(mean)


def test_the_worse_finding_alone_is_shown_to_differ(found):
    assert [name for name, entry in found.findings.items() if entry.differs] == ["Effusion"]
    assert found.findings["Effusion"].auroc.difference.high < 0


def test_p_values_are_corrected_by_holm_over_findings(frame):
    other = frame.assign(
        **{f"p:{name}": np.random.default_rng(k).random(len(frame)) for k, name in enumerate(FINDINGS)}
    )
    found = compare_external_findings(read_external(frame), read_external(other)).findings.values()
    expected = multipletests([entry.p for entry in found], method="holm")[1]
    assert [entry.p_holm for entry in found] == pytest.approx(expected)


def test_the_interval_is_about_that_of_a_bootstrap_of_patients(frame, worse, found):
    rows = np.flatnonzero(frame["true:Effusion"].isin([0, 1]))
    truth, first = known(frame, "Effusion")
    second = worse.sort_index()["p:Effusion"].to_numpy()[rows]
    draws = [
        roc_auc_score(truth, second, sample_weight=weight[rows])
        - roc_auc_score(truth, first, sample_weight=weight[rows])
        for weight in np.concatenate(list(patient_weights(Patients(frame["patient_id"]), 300, 0)))
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    entry = found.findings["Effusion"].auroc.difference
    assert entry.high - entry.low == pytest.approx(high - low, rel=0.25)


def test_only_what_both_know_is_compared(frame, worse):
    hidden = worse.assign(**{"true:Nodule": np.nan}).drop(columns=["p:Pneumothorax"])
    found = compare_external_findings(read_external(frame), read_external(hidden))
    assert set(found.findings) == {"Effusion", "Cardiomegaly"}
    assert set(found.not_compared) == {"Nodule", "Pneumothorax"}
    assert FindingsComparison.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda frame: frame[:-1], "other-images"),
        (lambda frame: frame.rename(columns=lambda name: name.replace(":", ":other ")), "other-labels"),
        (lambda frame: frame.assign(**{"true:Nodule": 1 - frame["true:Nodule"].clip(lower=0)}), "label-changed"),
        (lambda frame: frame.assign(patient_id=frame["patient_id"].iloc[::-1].to_numpy()), "other-patients"),
    ],
)
def test_what_cannot_be_paired_is_refused(frame, change, code):
    with pytest.raises(RunError) as caught:
        compare_external_findings(read_external(frame), read_external(change(frame)))
    assert caught.value.code == code


def test_findings_are_not_compared_with_labels(frame):
    labels = frame[["path"]].assign(label="a", **{"p:a": 0.5, "p:b": 0.5})
    with pytest.raises(TableError) as caught:
        of_one_kind(read_external(frame), read_external(labels))
    assert caught.value.code == "two-kinds"


@pytest.fixture(scope="module")
def seeds(tmp_path_factory, small_evaluation):
    """Two methods of several findings, each trained with two seeds."""
    folder = tmp_path_factory.mktemp("seeds")
    data = write_findings(folder / "data", patients=60)
    few = ["epochs=1", "splits.fraction=0.3"]
    return [
        [
            make_findings_run(
                data, folder / f"{width}-{seed}", *few, f"network.options.width={width}", f"training.seed={seed}"
            )
            for seed in (0, 1)
        ]
        for width in (4, 6)
    ]


@pytest.mark.ci
def test_methods_of_several_findings_are_compared_over_seeds(seeds, tmp_path, hilum):
    (first, one_more), (second, another) = seeds
    words = ("compare", first.path, second.path, "--also-first", one_more.path, "--also-second", another.path)
    found = FindingsComparison.from_json(hilum(*words, "--out", tmp_path / "out", "--json", check=0).stdout)
    gains = found.over_seeds
    alone = [
        compare_findings(one, two, out=tmp_path / f"{k}").comparison
        for k, (one, two) in enumerate([(first, second), (one_more, another)])
    ]
    assert gains.seeds == 2
    assert gains.runs == [(str(first.path), str(second.path)), (str(one_more.path), str(another.path))]
    for name, gain in gains.auroc.items():
        assert gain.values == pytest.approx([one.findings[name].auroc.difference.value for one in alone])
        assert gain.value == pytest.approx(np.mean(gain.values))
        assert gain.low < gain.value < gain.high
    assert gains.macro.values == pytest.approx([one.macro.auroc.difference.value for one in alone])
    shown = hilum(*words, "--out", tmp_path / "out", check=0).stdout
    assert "gain over 2 pairs of seeds" in shown
    assert "pairs of seeds" in (tmp_path / "out" / "comparison.html").read_text()
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["over_seeds"]["seeds"] == 2


def test_a_comparison_with_a_run_of_the_same_name_gets_a_folder_of_its_own(seeds, tmp_path):
    (first, same_name), (second, _) = seeds
    shutil.copytree(same_name.path, tmp_path / first.name)
    folders = {compare_findings(one, second).folder for one in (first, open_run(tmp_path / first.name))}
    assert len(folders) == 2
    assert compare_findings(first, second).folder in folders


def test_other_methods_are_no_seeds(seeds, tmp_path):
    (first, one_more), (second, another) = seeds
    with pytest.raises(RunError) as caught:
        compare_findings(first, second, more_seeds=[(another, one_more)], out=tmp_path / "out")
    assert caught.value.code == "other-recipe"
    with pytest.raises(RunError) as caught:
        compare_findings(first, second, more_seeds=[(first, another)], out=tmp_path / "out")
    assert caught.value.code == "same-weights"


def test_a_folder_with_files_of_its_own_is_refused_before_anything_is_evaluated(seeds, tmp_path):
    (first, _), (second, _) = seeds
    (tmp_path / "comparison.json").write_text("mine")
    before = sorted(second.path.rglob("*"))
    with pytest.raises(UsageError):
        compare_findings(first, second, split="val", out=tmp_path)
    assert sorted(second.path.rglob("*")) == before


def test_notes_of_the_evaluations_stand_in_the_comparison(seeds, tmp_path):
    (first, _), (second, _) = seeds
    found = compare_findings(first, second, split="calibration", out=tmp_path / "out").comparison
    for run in (first, second):
        noted = json.loads((run.path / "evaluation" / "calibration" / "metrics.json").read_text())["data"]["notes"]
        assert noted
        assert {f"{run.name}: {note}" for note in noted} <= {*found.notes}


def test_an_evaluation_says_why_it_does_not_abstain(seeds, tmp_path):
    run = seeds[0][0]
    abstention = fit_reference(run)
    assert abstention.reference is None
    assert abstention.note in evaluate(run, out=tmp_path / "out").metrics.notes
