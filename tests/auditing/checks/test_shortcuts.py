"""Shortcut probes find what was injected, and accuse nobody by chance."""

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest, kstest
from sklearn.metrics import roc_auc_score

from hilum.auditing.checks import shortcuts
from hilum.auditing.checks.shortcuts import findings, judge, probe_shortcuts
from hilum.auditing.probe_classifier import fit_scores, out_of_fold_scores
from hilum.auditing.scan import scan
from hilum.data.readers.read import read_table
from hilum.phantoms import Defect, write_phantoms
from hilum.stats import hypothesis_tests as chance
from places import DARKCOVIDNET, with_darkcovidnet
from wording import numbers

COVID = "infected/covid"
CONTAINER = {"container", "dimensions", "size on disk"}


@pytest.fixture(scope="module")
def injected(tmp_path_factory):
    """What the probes say of phantoms with one defect, each dataset written once."""
    known = {}

    def look(*defects):
        if defects not in known:
            out = tmp_path_factory.mktemp("phantoms")
            chosen = [Defect.parse(text) for text in defects]
            write_phantoms(out, patients=120, seed=3, size=64, masks=False, workers=1, defects=chosen)
            known[defects] = probe_shortcuts(scan(read_table(out)), permutations=199)
        return known[defects]

    return look


def areas(found, label=COVID):
    return {item.probe: item.auroc for item in found.found if item.label == label}


def severities(found):
    return {finding.evidence.probe: finding.severity for finding in findings(found)}


@pytest.mark.parametrize(
    ("defect", "probe"), [("format", "container"), ("size", "dimensions"), ("bytes", "size on disk")]
)
def test_a_planted_file_defect_is_an_error_and_names_its_label(injected, defect, probe, snapshot):
    found = injected(f"{defect}:{COVID}")
    assert areas(found)[probe] > 0.98
    assert severities(found)[probe] == "error"
    (finding,) = [finding for finding in findings(found) if finding.evidence.probe == probe]
    assert f"'{COVID}' (against the rest) with AUROC 1.00" in finding.message
    snapshot(finding.meaning)
    snapshot(finding.remedy)


@pytest.mark.slow
@pytest.mark.parametrize(("defect", "probe"), [("marker", "letters"), ("frame", "frame"), ("brightness", "histogram")])
def test_a_planted_pixel_defect_is_seen_but_never_an_error(injected, defect, probe, snapshot):
    clean, found = injected(), injected(f"{defect}:{COVID}")
    assert areas(clean)[probe] < 0.75
    assert areas(found)[probe] > 0.85
    assert severities(found)[probe] == "warning"
    (meaning,) = [finding.meaning for finding in findings(found) if finding.evidence.probe == probe]
    snapshot(meaning)


@pytest.mark.ci
def test_phantoms_without_defects_are_not_accused(injected):
    """Their lesions are real, so that a thumbnail may know a little of them; their files must know nothing."""
    found = injected()
    for item in found.found:
        if item.probe in ("container", "dimensions"):
            assert (item.auroc, item.p_value) == (0.5, 1.0)
        if item.probe == "size on disk":
            assert item.p_value > 0.01
    assert set(severities(found).values()) <= {"info"}
    assert not CONTAINER & set(severities(found))


def write_jpegs(root, *, qualities, generator):
    for label, quality in qualities.items():
        (root / label).mkdir(parents=True)
        for i in range(30):
            pixels = generator.normal(120, 30, (48, 48)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / label / f"{i}.jpg", quality=int(quality))
    return scan(read_table(root))


def test_another_jpeg_quality_for_one_label_is_found(tmp_path):
    look = write_jpegs(tmp_path, qualities={"normal": 90, "covid": 75}, generator=np.random.default_rng(0))
    found = probe_shortcuts(look, permutations=199)
    assert {item.label for item in found.found} == {"covid"}  # of two labels, one says it all
    assert areas(found, "covid")["container"] == 1
    assert severities(found)["container"] == "error"


def test_equal_files_of_noise_are_not_accused(tmp_path):
    look = write_jpegs(tmp_path, qualities={"normal": 90, "covid": 90}, generator=np.random.default_rng(1))
    assert findings(probe_shortcuts(look, permutations=199)) == []


def test_too_few_patients_are_passed_over_and_named(write_dataset, snapshot):
    root = write_dataset(patients=4)
    found = probe_shortcuts(scan(read_table(root)))
    assert found.found == ()
    (note,) = [note for note in found.notes if "not probed" in note]
    assert note.startswith("3 labels were not probed")
    snapshot(note)
    assert {"4", "8"} <= numbers(note)


def test_it_is_the_same_every_time_and_fits_json(tmp_path):
    look = write_jpegs(tmp_path, qualities={"normal": 90, "covid": 85}, generator=np.random.default_rng(2))
    first, second = (probe_shortcuts(look, permutations=19) for _ in range(2))
    assert first == second
    assert set(first.found[0].reported().model_dump()) == {"probe", "kind", "label", "auroc", "low", "high", "p_value"}


def test_large_datasets_are_thinned_by_patient(monkeypatch, write_dataset, snapshot):
    monkeypatch.setattr(shortcuts, "MOST_IMAGES", 150)
    look = scan(read_table(write_dataset(patients=45, images=2)))
    found = probe_shortcuts(look, permutations=9)
    assert 100 < found.images < 200
    assert found.images % 2 == 0  # every patient has two
    assert {str(found.images), "270"} <= numbers(found.notes[0])
    snapshot(found.notes[0])


# Patients


def cohort(generator, patients=60, labels=3):
    """Patients of one to four images, all of one label."""
    groups = np.repeat(np.arange(patients), generator.integers(1, 5, patients))
    return groups, generator.integers(0, labels, patients)[groups]


def test_patients_are_never_split_over_folds_and_labels_are_spread():
    groups, labels = cohort(np.random.default_rng(0), 200)
    folds = chance.grouped_folds(labels, groups, 5)
    assert all(len(set(folds[groups == group])) == 1 for group in set(groups))
    own = np.array([[len(set(groups[(folds == f) & (labels == k)])) for k in range(3)] for f in range(5)])
    assert (own.max(axis=0) - own.min(axis=0) <= 1).all()
    assert not np.array_equal(folds, chance.grouped_folds(labels, groups, 5, seed=1))


def test_permutations_move_whole_patients_within_fold_and_size():
    groups, labels = cohort(np.random.default_rng(0))
    folds = chance.grouped_folds(labels, groups, 5)
    permuted = chance.permute_labels(labels, groups, folds, 50)
    assert permuted.shape == (51, len(labels))
    assert np.array_equal(permuted[0], labels)
    assert (permuted[1:] != labels).any()
    for row in permuted:
        assert all(len(set(row[groups == group])) == 1 for group in set(groups))
        for fold in range(5):
            assert np.array_equal(
                np.bincount(row[folds == fold], minlength=3), np.bincount(labels[folds == fold], minlength=3)
            )


def test_patients_of_very_different_sizes_are_exchanged_too():
    sizes = np.arange(20, 40)
    groups, labels = np.repeat(np.arange(20), sizes), np.repeat(np.arange(20) % 2, sizes)
    permuted = chance.permute_labels(labels, groups, np.zeros(len(groups), int), 20)
    assert len(np.unique(permuted, axis=0)) > 10


def test_duplicates_given_by_the_caller_share_a_fold(monkeypatch, write_dataset):
    seen = []
    dealt = shortcuts.grouped_folds
    monkeypatch.setattr(shortcuts, "grouped_folds", lambda *a: seen.append(a[1]) or dealt(*a))
    look = scan(read_table(write_dataset(patients=12, images=2)))
    patients = np.unique(look.table.patients(), return_inverse=True)[1]
    probe_shortcuts(look, permutations=2)
    probe_shortcuts(look, np.where(patients < 6, 0, patients), permutations=2)
    assert [len(np.unique(groups)) for groups in seen] == [36, 31]


# The classifier


def test_useless_and_constant_features_say_nothing():
    generator = np.random.default_rng(0)
    targets = (np.arange(400) % 4 == 0)[:, None]
    folds = generator.integers(0, 5, 400)
    assert (out_of_fold_scores(np.ones((400, 3)), targets, folds) == 0).all()
    coarse = generator.integers(0, 3, (400, 1)).astype(float)
    scores = out_of_fold_scores(coarse, targets, np.arange(400) % 5)
    assert all(len(np.unique(scores[np.arange(400) % 5 == fold])) <= 3 for fold in range(5))  # ties stay ties


def test_many_targets_are_fitted_as_if_each_were_alone():
    generator = np.random.default_rng(0)
    train, test, targets = (
        generator.normal(size=(150, 4)),
        generator.normal(size=(40, 4)),
        generator.random((150, 9)) < 0.5,
    )
    together = fit_scores(train, targets, test)
    alone = np.hstack([fit_scores(train, targets[:, [k]], test) for k in range(9)])
    assert together == pytest.approx(alone, abs=1e-4)


def test_what_no_line_can_separate_is_told():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(600, 2))
    ring = (features**2).sum(axis=1) > 1.4
    found = fit_scores(features[:400], ring[:400, None], features[400:])
    assert roc_auc_score(ring[400:], found[:, 0]) > 0.97


# Chance


def null_p_values(*, by_patient, datasets=200, permutations=59):
    """The smallest corrected p-value of datasets whose labels are random and whose patients look like themselves."""
    lowest, middle = [], []
    for number in range(datasets):
        generator = np.random.default_rng([11, number])
        groups, labels = cohort(generator, 50)
        own = [generator.normal(size=(50, width))[groups] for width in (1, 4, 12)]
        features = [matrix + 0.3 * generator.normal(size=matrix.shape) for matrix in own]
        kept = groups if by_patient else np.arange(len(groups))
        judged = judge(features, labels, [0, 1, 2], kept, permutations=permutations)
        lowest.append(min(p for *_, p in judged))
        middle += [area for area, *_ in judged]
    return np.array(lowest), np.array(middle)


@pytest.mark.slow
def test_under_random_labels_p_is_uniform_and_alarms_stay_at_their_rate():
    lowest, middle = null_p_values(by_patient=True)
    steps = np.random.default_rng(0).random(len(lowest)) / 60  # p has steps of 1/60: spread them
    assert kstest(lowest - steps, "uniform").pvalue > 0.01
    for level in (0.05, 0.1):
        assert binomtest(int((lowest <= level).sum()), len(lowest), level, alternative="greater").pvalue > 0.01
    assert middle.mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.slow
def test_the_simulation_would_notice_if_patients_were_ignored():
    lowest, _ = null_p_values(by_patient=False, datasets=30)
    assert (lowest <= 0.05).mean() > 0.5


def test_correction_is_by_the_largest_of_all_and_counts_the_observed():
    statistics = np.random.default_rng(0).normal(size=(100, 20))
    statistics[0] = 0
    statistics[0, 3] = 9
    corrected = chance.corrected_p(statistics)
    assert corrected[3] == 1 / 100
    assert (np.delete(corrected, 3) > 0.9).all()
    statistics[:, 5] = 0.5  # a constant probe
    assert chance.corrected_p(statistics)[5] == 1


# Real radiographs, against the figures in the notes


@pytest.mark.slow
def test_the_real_set_with_alike_files(seed_cxr):
    look = scan(read_table(seed_cxr))
    found = probe_shortcuts(look, permutations=99)
    covid = areas(found)
    assert (covid["container"], covid["dimensions"]) == (0.5, 0.5)
    notes = {"histogram": 0.787, "8x8 thumbnail": 0.820, "frame": 0.795, "centre blacked out": 0.787}
    assert {name: covid[name] for name in notes} == pytest.approx(notes, abs=0.03)
    assert "error" not in severities(found).values()


@with_darkcovidnet
@pytest.mark.ci
def test_the_real_set_whose_files_give_the_label_away():
    found = probe_shortcuts(scan(read_table(DARKCOVIDNET)), permutations=199)
    covid = areas(found, "covid")
    notes = {"original container": 1.0, "original dimensions": 0.993, "8x8 thumbnail": 0.976, "frame": 0.938}
    assert {name: covid[name] for name in notes} == pytest.approx(notes, abs=0.03)
    assert covid["container"] == 0.5  # the copies here were all written alike
    assert severities(found)["original container"] == severities(found)["original dimensions"] == "error"
