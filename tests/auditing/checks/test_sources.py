"""Sources beside labels: what goes together is said, what cannot be known is said, and nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats.contingency import association

from hilum.auditing.checks.sources import cramers_v, cross_table, findings
from hilum.data.dataset import Dataset, Row
from hilum.data.readers.read import read_table
from places import DARKCOVIDNET, with_darkcovidnet
from wording import numbers


def table(**images):
    """Rows by 'label from source', such as covid_A=3; no source after the underscore: unknown."""
    rows = []
    for name, count in images.items():
        label, source = name.split("_")
        rows += [Row(f"{name}{i}.png", label, source=source) for i in range(count)]
    return Dataset(Path("data"), tuple(rows))


def test_the_cross_table_counts():
    names, counts = cross_table(table(normal_A=1, covid_A=2, covid_B=7, covid_=5))
    assert names == ("B", "A")
    assert counts.tolist() == [[0, 7], [1, 2]]


def test_strength_is_one_where_sources_determine_labels_and_zero_where_they_do_not():
    assert cramers_v(np.array([[50, 0], [0, 50]])) == pytest.approx(1)
    assert cramers_v(np.array([[50, 50], [50, 50]])) == 0
    assert cramers_v(np.array([[5, 9]])) == 0


def test_strength_is_scipys_for_many_images_and_is_corrected_for_few():
    counts = np.array([[5000, 3000, 2000], [2000, 4000, 4000]])
    assert cramers_v(counts) == pytest.approx(association(counts), abs=0.002)
    generator = np.random.default_rng(0)
    drawn = [generator.multinomial(40, np.full(30, 1 / 30)).reshape(10, 3) for _ in range(50)]
    assert np.mean([cramers_v(counts) for counts in drawn]) < 0.15  # without correction about 0.5
    assert np.mean([association(counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]) for counts in drawn]) > 0.4


def test_sources_and_labels_that_determine_each_other_are_an_error(snapshot):
    (finding,) = findings(table(normal_A=30, covid_B=30))
    assert finding.severity == "error"
    snapshot(finding.message)
    assert {"30"} <= numbers(finding.message)
    assert finding.evidence.images == {"A": [30, 0], "B": [0, 30]}
    assert finding.evidence.cramers_v == 1


def test_a_label_whose_source_has_a_few_others_is_a_warning(snapshot):
    (finding,) = findings(table(normal_A=96, normal_B=4, covid_B=100))
    assert finding.severity == "warning"
    snapshot(finding.message)
    assert {"4", "100"} <= numbers(finding.message)


def test_sources_that_lean_are_a_warning_and_little_leaning_is_information():
    (strong,) = findings(table(normal_A=85, covid_A=15, normal_B=15, covid_B=85))
    assert (strong.severity, strong.evidence.cramers_v) == ("warning", pytest.approx(0.7, abs=0.01))
    assert "strongly" in strong.message
    (little,) = findings(table(normal_A=60, covid_A=40, normal_B=40, covid_B=60))
    assert little.severity == "info"


def test_sources_are_judged_by_patients_and_many_labels_are_one_finding():
    rows = [Row(f"e{i}.png", "E.Coli", patient_id="one", source="A") for i in range(40)]
    rows += [Row(f"n{i}.png", "normal", patient_id=f"n{i}", source="BC"[i % 2]) for i in range(60)]
    assert findings(Dataset(Path("data"), tuple(rows))) == []
    rows = [
        Row(f"{k}-{i}.png", f"label {k}", patient_id=f"{k}-{i}", source=f"hospital {k}")
        for k in range(12)
        for i in range(10)
    ]
    (finding,) = findings(Dataset(Path("data"), tuple(rows)))
    assert finding.severity == "error"
    assert len(finding.evidence.confounded_labels) == 12
    assert len(finding.message) < 700


def test_balanced_sources_are_not_accused():
    assert findings(table(normal_A=50, covid_A=50, normal_B=20, covid_B=20)) == []
    assert findings(table(normal_A=50, covid_A=50)) == []


def test_unknown_sources_are_only_mentioned(snapshot):
    (none,) = findings(table(normal_=5, covid_=5))
    assert none.severity == "info"
    snapshot(none.message)
    empty = replace(table(normal_=5, covid_=5), columns=("path", "label", "source"))
    snapshot(findings(empty)[0].message)
    lacking = replace(empty, columns=("path", "label"))
    snapshot(findings(lacking)[0].message)
    (some,) = findings(table(normal_A=50, covid_A=50, covid_=3))
    assert some.severity == "info"
    snapshot(some.message)
    assert {"3", "103"} <= numbers(some.message)


@with_darkcovidnet
def test_in_the_real_set_source_and_label_determine_each_other(snapshot):
    (finding,) = findings(read_table(DARKCOVIDNET))
    assert finding.severity == "error"
    snapshot(finding.message)
    assert finding.evidence.confounded_labels == ["covid"]
