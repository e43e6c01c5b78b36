"""Cross-validation of several findings an image: everybody once, finding by finding, by patient or by source."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import hilum as interface
from hilum.data.multilabel import finding_values, with_findings
from hilum.data.splits import independent_groups
from hilum.errors import RunError, SplitError, UsageError
from hilum.evaluation.crossval import crossval
from hilum.evaluation.crossval_schema import FindingsCrossValidation
from hilum.evaluation.findings_predictions import FindingsPredictions, read_findings_predictions
from hilum.evaluation.fold_results import pool_findings
from hilum.evaluation.folds import assign_folds
from hilum.evaluation.source_folds import divide_by_source, ordinary_folds, source_values
from hilum.report.findings_crossval import shown_crossval, write_shown_crossval
from hilum.training.recipe import load_recipe
from hilum.training.run import open_run
from training_runs import COMPACT, FINDINGS, write_findings

pytestmark = pytest.mark.usefixtures("small_evaluation")
FEW = [*COMPACT, "epochs=1", "batch_size=16"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_findings(tmp_path_factory.mktemp("findings"), patients=60)


def of_sources(data, *, only_north=""):
    """The same from two sources by turns of patients; one finding may be present in the north only."""
    rows = [replace(row, source=("north", "south")[int(row.patient_id[1:]) % 2]) for row in data.rows]
    values = finding_values(data)
    if only_north:
        k = data.findings.index(only_north)
        south = np.array([row.source == "south" for row in rows])
        values[south & (values[:, k] == 1), k] = 0
    return with_findings(replace(data, rows=rows), data.findings, values)


@pytest.fixture(scope="module")
def done(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cv") / "cv"
    return folder, crossval(data, folder, load_recipe("compact", FEW), folds=3)


def test_every_image_is_tested_once_and_each_finding_measured_within_folds(done, data):
    folder, result = done
    pooled = read_findings_predictions(folder / "predictions.csv")
    assert sorted(pooled.paths) == sorted(row.path for row in data.rows)
    assert pooled.findings == data.findings == FINDINGS
    fold, patients = {}, [set(), set(), set()]
    for number in range(3):
        for row in open_run(folder / f"fold-{number + 1}").rows:
            if row.split == "test":
                fold[row.path] = number
                patients[number].add(row.patient_id)
    assert sum(map(len, patients)) == len(set.union(*patients))
    numbers = np.array([fold[path] for path in pooled.paths])
    for k, name in enumerate(FINDINGS):
        areas, weights = [], []
        for number in range(3):
            rows = np.flatnonzero((numbers == number) & pooled.known[:, k])
            truth = pooled.truth[rows, k]
            areas.append(roc_auc_score(truth, pooled.probabilities[rows, k]))
            weights.append(truth.sum() * (1 - truth).sum())
        found = result.pooled.findings[name]
        assert found.auroc.value == pytest.approx(np.average(areas, weights=weights))
        assert found.auroc.low <= found.auroc.value <= found.auroc.high
    each = [one.auroc.value for one in result.pooled.findings.values()]
    assert result.pooled.macro.auroc.value == pytest.approx(np.mean(each))
    values = [one.macro.auroc.value for one in result.per_fold]
    assert result.spread["macro_auroc"].mean == pytest.approx(np.mean(values))


def test_the_file_is_read_as_it_was_written(done):
    folder, result = done
    kept = json.loads((folder / "crossval.json").read_text())
    assert FindingsCrossValidation.from_json(kept).to_json() == kept == json.loads(json.dumps(result.to_json()))


def test_console_and_page_show_every_finding_and_fold(done):
    folder, result = done
    page = write_shown_crossval(folder, result).read_text()
    for name, one in result.pooled.findings.items():
        assert name in page
        assert f"{one.auroc.value:.3f}" in page
    assert "Fold by fold" in page
    assert shown_crossval(result)


@pytest.mark.parametrize("seed", range(4))
def test_folds_share_every_finding_and_no_patient(tmp_path, data, seed):
    number = assign_folds(data, 4, seed)
    values = finding_values(data)
    for k in range(len(FINDINGS)):
        for side in (0, 1):
            shares = np.bincount(number[values[:, k] == side], minlength=4) / (values[:, k] == side).sum()
            assert shares.min() > 0
            assert shares.max() < 0.5
    of = {}
    for row, fold in zip(data.rows, number, strict=True):
        assert of.setdefault(row.patient_id, fold) == fold
    assert np.array_equal(number, assign_folds(data, 4, seed))


def test_a_finding_of_fewer_patients_than_folds_is_refused(data, tmp_path, refuses):
    values = finding_values(data)
    values[:, 2] = 0
    values[:4, 2] = 1  # two patients
    rare = with_findings(data, FINDINGS, values)
    with refuses(SplitError, "too-few-patients"):
        crossval(rare, tmp_path / "cv", load_recipe("compact", FEW), folds=3)
    assert not (tmp_path / "cv").exists()


def test_a_finding_that_one_source_has_alone_is_neither_learnt_nor_tested_there(data):
    table = of_sources(data, only_north="left")
    values, groups = source_values(table, "source"), independent_groups(table)
    division = divide_by_source(table, values, groups)
    assert [(fold.name, fold.findings) for fold in division.folds] == [
        ("north", tuple(name for name in FINDINGS if name != "left")),
        ("south", FINDINGS),
    ]
    assert [(item.label, item.source) for item in division.confounded] == [("left", "north")]
    divided = division.folds[0].divide(table)
    assert divided.findings == division.folds[0].findings
    assert len(divided) == len(table)
    for seed in range(3):
        for own, other in zip(division.folds, ordinary_folds(table, division, groups, seed), strict=True):
            assert len(own.tested) == pytest.approx(len(other.tested), abs=4)
            assert other == ordinary_folds(table, division, groups, seed)[division.folds.index(own)]


def test_a_source_where_nothing_varies_is_not_tested(data):
    table = of_sources(data)
    values = finding_values(table)
    values[[row.source == "south" for row in table.rows]] = 0
    table = with_findings(table, FINDINGS, values)
    with pytest.raises(SplitError) as caught:
        divide_by_source(table, source_values(table, "source"), independent_groups(table))
    assert caught.value.code == "no-source-testable"


@pytest.mark.slow
def test_sources_are_compared_finding_by_finding(data, tmp_path):
    table = of_sources(data, only_north="left")
    done = interface.cross_validate(
        table, tmp_path / "cv", load_recipe("compact", FEW), by="source", repeats=2, progress=False
    )
    found = done.sources
    others = [name for name in FINDINGS if name != "left"]
    assert list(found.findings) == others
    assert found.not_measured == ["left"]
    for name in others:
        one = found.findings[name]
        assert [row.name for row in one.sources] == ["north", "south"]
        drop = one.auroc.drop
        assert drop.value == pytest.approx(one.auroc.ordinary.value - one.auroc.unseen.value)
    assert found.macro.drop.value == pytest.approx(np.mean([one.auroc.drop.value for one in found.findings.values()]))
    assert (tmp_path / "cv" / "ordinary-2" / "crossval.json").exists()
    seeds = {open_run(tmp_path / "cv" / name / "fold-1").recipe.training.seed for name in ("ordinary", "ordinary-2")}
    assert len(seeds) == 2
    page = (tmp_path / "cv" / "crossval.html").read_text()
    assert page.index("left comes from one source only") < page.index("At a source that it never saw: macro AUROC")
    assert str(done).strip().startswith("left comes from one source only (north)")
    assert done.pooled.findings == tuple(done.result.pooled.findings)


def test_no_repeats_are_refused(data, tmp_path, refuses):
    with refuses(UsageError, "too-few-repeats"):
        crossval(data, tmp_path / "cv", by="source", repeats=0)


def test_pooling_leaves_unlearnt_findings_unknown_and_refuses_images_tested_twice():
    def part(findings, path):
        ones = np.ones((1, len(findings)))
        return FindingsPredictions(findings, (path,), ("p",), ones.astype(np.float32), 0.5 * ones)

    both = pool_findings([part(("a", "b"), "1.png"), part(("b",), "2.png")], ("a", "b"))
    assert both.known.tolist() == [[True, True], [False, True]]
    with pytest.raises(RunError) as caught:
        pool_findings([part(("a",), "1.png")] * 2, ("a",))
    assert caught.value.code == "tested-twice"
