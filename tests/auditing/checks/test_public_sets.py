"""Known sets are recognised by what images show, copies of them too, and nothing else is."""

import io
from collections import Counter
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hilum.auditing.checks import public_sets as provenance
from hilum.auditing.checks import sources
from hilum.auditing.checks.public_sets import KNOWN_SETS, Match, enough, findings, recognise
from hilum.auditing.near_duplicates.codes import CROPS, LENGTH, NO_CROP, SIDE, basis, pack, unpack, view
from hilum.auditing.scan import Scan, scan
from hilum.data.dataset import Dataset, Row
from hilum.data.readers.read import read_table
from hilum.phantoms import LABELS, make_phantom
from places import DARKCOVIDNET, with_darkcovidnet
from wording import numbers

KERMANY, NIH, IEEE = KNOWN_SETS


def made(thumbnails, labels):
    """A scan of thumbnails that lie nowhere."""
    rows = tuple(Row(f"{i}.png", label) for i, label in enumerate(labels))
    count = len(rows)
    return Scan(Dataset(Path("x"), rows), (), thumbnails, np.zeros((count, 32), np.float32), ("",) * count, ())


def some(root, number, seed=0, where=lambda row: True):
    table = read_table(root)
    fitting = [i for i, row in enumerate(table.rows) if where(row)]
    return table.take(int(i) for i in np.random.default_rng(seed).choice(fitting, number, replace=False))


def without(monkeypatch, known):
    """Forget one set's fingerprints."""
    references, member = provenance._references()
    others = member != KNOWN_SETS.index(known)
    monkeypatch.setattr(provenance, "_references", lambda: (references[:, others], member[others]))


def test_fingerprints_are_small_and_complete():
    folder = files("hilum.auditing.fingerprints")
    stored = [item for item in folder.iterdir() if item.name.endswith(".npz")]
    assert sum(len(item.read_bytes()) for item in stored) <= 500_000
    _, member = provenance._references()
    assert Counter(member.tolist()) == {0: 5856, 1: 1000, 2: 124}
    assert {item.name for item in stored} == {"basis.npz", *(f"{known.key}.npz" for known in KNOWN_SETS)}


def test_codes_survive_their_storage():
    components = np.random.default_rng(0).normal(size=(50, LENGTH)).astype(np.float32)
    known = basis()
    loss = known.codes(components) - known.codes(unpack(pack(components)))
    assert np.abs(loss).max() < 0.02
    assert np.allclose(known.axes.T @ known.axes, np.eye(LENGTH), atol=0.05)


def test_a_view_is_what_pillow_makes():
    image = make_phantom(LABELS[0], seed=1, patient=1, image=0, size=64).image
    for crop in CROPS[[0, 1, 6]]:
        left, right, top, bottom = crop / 160 * 64
        seen = Image.fromarray(image).convert("F")
        expected = seen.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=(left, top, 64 - right, 64 - bottom))
        # Pillow's filter ends at the box, ours may look over its edge
        assert np.allclose(
            view(image[None], crop[None], SIDE)[0][1:-1, 1:-1], np.asarray(expected)[1:-1, 1:-1], atol=0.5
        )
    assert (CROPS[0] == NO_CROP).all()


def test_phantoms_are_of_no_known_set():
    phantoms = [make_phantom(LABELS[i % 3], seed=3, patient=i, image=0, size=96).image for i in range(60)]
    small = np.stack([np.asarray(Image.fromarray(image).resize((64, 64))) for image in phantoms])
    noise = np.random.default_rng(0).integers(0, 256, (40, 64, 64)).astype(np.uint8)
    blank = np.zeros((20, 64, 64), np.uint8)
    assert recognise(made(np.concatenate([small, noise, blank]), ["covid"] * 120)) == []


def test_how_many_matches_name_a_set():
    assert enough(5, 100)
    assert enough(5, 500)
    assert not enough(4, 100)
    assert not enough(5, 501), "less than one in a hundred is what false alarms could bring"
    assert not enough(1, 10)
    assert enough(2, 10)
    assert not enough(0, 0)


def test_a_covid_label_of_kermanys_images_is_an_error(seed_cxr, snapshot):
    seen = scan(some(seed_cxr, 300))
    (match,) = recognise(seen)
    assert match.known is KERMANY
    assert match.matched == 300
    assert match.labels == match.totals
    error, info = findings([match])
    assert (error.severity, info.severity) == ("error", "info")
    snapshot(error.message)
    assert "2018" in error.message
    assert error.evidence.label == "infected/covid"
    snapshot(info.message)
    assert {"300"} <= numbers(info.message)
    assert match.reported().dataset == KERMANY.name


def test_the_same_images_named_viral_are_no_error(seed_cxr):
    seen = scan(some(seed_cxr, 60))
    rows = tuple(replace(row, label=row.label.replace("infected/covid", "viral")) for row in seen.table.rows)
    (finding,) = findings(recognise(replace(seen, table=replace(seen.table, rows=rows))))
    assert finding.severity == "info"


def copies(table, change):
    small = []
    for row in table.rows:
        buffer = io.BytesIO()
        change(Image.open(table.file(row)).convert("L")).save(buffer, "JPEG", quality=60)
        small.append(np.asarray(Image.open(buffer).convert("L").resize((64, 64), Image.Resampling.BILINEAR)))
    return made(np.stack(small), [row.label for row in table.rows])


def cropped(share):
    def change(image):
        width, height = image.size
        return image.crop(
            tuple(round(x) for x in (share * width, share * height, (1 - share) * width, (1 - share) * height))
        )

    return change


@pytest.mark.parametrize(
    ("change", "share"),
    [
        (lambda image: image.resize((100, 80)), 0.99),
        (lambda image: image.point(lambda value: 255 * (value / 255) ** 0.6), 0.99),
        (cropped(0.02), 0.97),
        (cropped(0.05), 0.85),
        (cropped(0.10), 0.70),
    ],
    ids=["resized", "gamma", "crop 2 %", "crop 5 %", "crop 10 %"],
)
def test_copies_are_recognised(seed_cxr, change, share):
    (match,) = recognise(copies(some(seed_cxr, 200), change))
    assert match.known is KERMANY
    assert match.matched >= share * 200


def test_other_children_are_not_taken_for_kermanys(seed_cxr, monkeypatch):
    """Leave the chosen patients' fingerprints out: what is left are other children of the same hospital."""
    table = read_table(seed_cxr)
    patients = sorted({row.patient_id for row in table.rows})
    chosen = set(np.random.default_rng(2).choice(patients, 700, replace=False))
    inside = np.array([row.patient_id in chosen for row in table.rows])
    references, member = provenance._references()
    left = np.concatenate([~inside, np.ones(len(member) - len(inside), bool)])
    monkeypatch.setattr(provenance, "_references", lambda: (references[:, left], member[left]))
    seen = scan(table.take(int(i) for i in np.flatnonzero(inside)))
    assert len(seen) > 900
    assert recognise(seen) == []


def test_children_are_not_taken_for_adults(seed_cxr, monkeypatch):
    without(monkeypatch, KERMANY)
    assert recognise(scan(some(seed_cxr, 600))) == []


@with_darkcovidnet
@pytest.mark.parametrize("known", [NIH, IEEE])
def test_adults_are_not_taken_for_others(monkeypatch, known):
    without(monkeypatch, known)
    named = {NIH: "NIH", IEEE: "ieee"}[known]
    table = read_table(DARKCOVIDNET)
    of_it = table.take(i for i, row in enumerate(table.rows) if row.source.startswith(named))
    assert recognise(scan(of_it)) == []


def matched(known, labels, totals):
    """Matches of so many images of each label; images are numbered label by label, the matched ones first."""
    begins = np.cumsum([0, *totals.values()])
    positions = [
        int(begin) + offset + i
        for begin, (label, (offset, number)) in zip(begins, labels.items(), strict=False)
        for i in range(number)
    ]
    return Match(known, tuple(positions), {label: number for label, (_, number) in labels.items()}, totals)


def numbered(totals):
    rows = [Row(f"{label}{i}.png", label) for label, number in totals.items() for i in range(number)]
    return Dataset(Path("x"), tuple(rows))


def test_a_label_is_not_said_to_be_of_a_set_where_an_eighth_of_it_is():
    totals = {"Normal": 300, "Viral-COVID19": 255}
    of_kermany = matched(KERMANY, {"Normal": (0, 0), "Viral-COVID19": (0, 32)}, totals)
    error, _ = findings([of_kermany])
    assert error.message.startswith("32 of 255 images of 'Viral-COVID19' cannot be COVID-19")


def test_a_label_that_is_not_of_the_set_of_all_others_leads_with_the_numbers_that_were_recognised(snapshot):
    """As in a public download: COVID-19 beside Kermany's children, 32 of its 255 files recognised as ieee8023's."""
    totals = {"Normal": 300, "Bacterial": 400, "Viral-COVID19": 255}
    children = matched(KERMANY, {"Normal": (0, 300), "Bacterial": (0, 398), "Viral-COVID19": (0, 0)}, totals)
    adults = matched(IEEE, {"Normal": (0, 0), "Bacterial": (0, 0), "Viral-COVID19": (0, 32)}, totals)
    (finding,) = sources.findings(numbered(totals), [children, adults])
    assert (finding.check, finding.severity) == ("sources", "error")
    assert finding.evidence.labels == ["Viral-COVID19"]
    snapshot(finding.message)
    assert {"0", "255"} <= numbers(finding.message)
    assert {"32"} <= numbers(finding.message)
    assert "698" in finding.message
    assert "ages" in finding.message


def test_a_few_images_of_another_set_are_a_warning(snapshot):
    totals = {"normal": 300, "covid": 300}
    children = matched(KERMANY, {"normal": (0, 300), "covid": (0, 200)}, totals)
    adults = matched(IEEE, {"normal": (0, 0), "covid": (200, 100)}, totals)
    (finding,) = sources.findings(numbered(totals), [children, adults])
    assert finding.severity == "warning"
    snapshot(finding.message)
    assert {"300"} <= numbers(finding.message)


def test_what_is_not_recognised_may_be_of_a_set_that_is_known_in_part():
    """Only 1,000 of NIH's 112,120 images are known: other labels may come from it, too, but COVID-19 may not."""
    known = {"normal": (0, 300), "other": (0, 0)}
    table = numbered({"normal": 300, "other": 300})
    (finding,) = sources.findings(table, [matched(NIH, known, {"normal": 300, "other": 300})])
    assert finding.severity == "info"  # no column says where images come from
    totals = {"normal": 300, "covid": 300}
    (finding,) = sources.findings(numbered(totals), [matched(NIH, {"normal": (0, 300), "covid": (0, 0)}, totals)])
    assert finding.severity == "error"


@with_darkcovidnet
def test_labels_of_two_sets_are_an_error_with_and_without_a_table():
    seen = scan(read_table(DARKCOVIDNET))
    matches = recognise(seen)
    truth = [{i for i, row in enumerate(seen.table.rows) if row.source.startswith(name)} for name in ("NIH", "ieee")]
    assert [match.known for match in matches] == [NIH, IEEE]
    assert [set(match.positions) for match in matches] == truth
    assert [finding.severity for finding in findings(matches)] == ["info", "info"]
    without_table = seen.table.with_values("source", [""] * len(seen))
    for table in (seen.table, without_table):
        (finding,) = sources.findings(table, matches)
        assert finding.severity == "error"
        assert "'covid'" in finding.message
        assert "children" not in finding.message


@with_darkcovidnet
def test_children_against_adults_is_an_error(seed_cxr, snapshot):
    children = scan(some(seed_cxr, 80, where=lambda row: row.label == "normal"))
    adults = scan(some(DARKCOVIDNET, 60, where=lambda row: row.label == "covid"))
    mixed = made(np.concatenate([children.thumbnails, adults.thumbnails]), ["normal"] * 80 + ["covid"] * 60)
    (finding,) = sources.findings(mixed.table, recognise(mixed))
    assert finding.severity == "error"
    snapshot(finding.message)
