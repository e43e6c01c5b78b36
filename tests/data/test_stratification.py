"""Splits of a dataset with several findings an image: whole patients, and every finding on every side."""

from pathlib import Path

import numpy as np
import pytest

from hilum.data.dataset import Dataset, Row
from hilum.data.multilabel import finding_values, with_findings
from hilum.data.splits import SplitPlan, assign_splits
from hilum.data.stratification import deal_groups, one_sided

NAMES = ("common", "medium", "rare")
SHARES = (0.4, 0.1, 0.02)


def table(*, patients=800, seed=0, given=False):
    """Patients with one to four images; a tenth of what is known of findings is missing, findings are correlated."""
    generator = np.random.default_rng(seed)
    owners = np.repeat(np.arange(patients), generator.integers(1, 5, patients))
    severity = generator.normal(size=patients)[owners]
    cuts = [np.quantile(severity, 1 - share) for share in SHARES]
    values = np.stack([severity + generator.normal(0, 0.5, len(owners)) > cut for cut in cuts], axis=1).astype(float)
    values[generator.random(values.shape) < 0.1] = np.nan
    splits = np.where(owners % 5 == 0, "test", "train") if given else [""] * len(owners)
    rows = [
        Row(f"{i}.png", "", str(split), patient_id=f"p{one}")
        for i, (one, split) in enumerate(zip(owners, splits, strict=True))
    ]
    return with_findings(Dataset(Path(), rows), NAMES, values)


@pytest.mark.parametrize("seed", range(4))
def test_patients_stay_together_and_findings_keep_their_shares(seed):
    made = table(seed=seed)
    splits = np.array(assign_splits(made, SplitPlan(seed=seed)).names)
    owners = np.array(made.patients())
    for owner in np.unique(owners):
        assert len(set(splits[owners == owner])) == 1
    values = finding_values(made)
    for role in ("val", "calibration", "test"):
        people = len(set(owners[splits == role])) / len(set(owners))
        assert people == pytest.approx(0.1, abs=0.03)
        for column in values.T:
            for value in (0, 1):
                ill = set(owners[column == value])
                share = len(ill & set(owners[splits == role])) / len(ill)
                assert share == pytest.approx(0.1, abs=max(0.03, 2 / len(ill)))


def test_a_finding_of_few_patients_is_on_every_side():
    marks = np.zeros((500, 2), bool)
    marks[:5, 0] = True
    marks[:, 1] = ~marks[:, 0]
    part = deal_groups(marks, 3, 0.1, seed=0)
    assert sorted(part[:5].tolist()) == [0, 1, 2, 3, 3]
    assert np.bincount(part).tolist() == [51, 51, 51, 347]  # a tenth of each kind, one at least


def test_what_is_too_rare_stays_in_train_and_is_said():
    values = np.zeros((300, 2))
    values[::2, 0] = 1
    values[:2, 1] = 1
    rows = [Row(f"{i}.png", "", patient_id=f"p{i}") for i in range(300)]
    splits = assign_splits(with_findings(Dataset(Path(), rows), ("A", "B"), values), SplitPlan())
    assert splits.names[0] == splits.names[1] == "train"
    assert [note for note in splits.notes if "B" in note and "val" in note]


def test_the_same_seed_deals_the_same():
    made = table(patients=100)
    assert assign_splits(made, SplitPlan(seed=3)) == assign_splits(made, SplitPlan(seed=3))
    assert assign_splits(made, SplitPlan(seed=3)).names != assign_splits(made, SplitPlan(seed=4)).names


def test_duplicates_stay_together():
    made = table(patients=200)
    copies = [i // 7 for i in range(len(made))]
    splits = np.array(assign_splits(made, SplitPlan(), copies).names)
    for number in set(copies):
        assert len(set(splits[np.array(copies) == number])) == 1


def test_a_datasets_own_splits_are_used():
    made = table(given=True)
    splits = assign_splits(made, SplitPlan()).names
    assert {split for row, split in zip(made.rows, splits, strict=True) if row.split == "test"} == {"test"}
    assert set(splits) == {"train", "val", "calibration", "test"}


def test_what_is_missing_where():
    rows = [Row(f"{i}.png", "") for i in range(4)]
    made = with_findings(
        Dataset(Path(), rows), ("A", "B", "C"), np.array([[1, 0, np.nan], [0, 0, -1], [1, 1, 1], [0, 1, 0]])
    )
    assert one_sided(made, ["train", "train", "test", "test"]) == {
        "train": {"B": "present", "C": "known"},
        "test": {"B": "absent"},
    }


def test_with_few_patients_fewer_findings_are_missing_than_at_random():
    def missing(marks, part):
        return sum((~marks[part == number].any(axis=0)).sum() for number in range(4))

    dealt = at_random = 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        marks = generator.random((40, 12)) < 0.25
        part = deal_groups(marks, 3, 0.1, seed)
        dealt += missing(marks, part)
        at_random += missing(marks, generator.permutation(part))
        assert missing(marks[:, :1], part) == 0 or marks[:, 0].sum() < 8
    assert dealt < at_random / 4
