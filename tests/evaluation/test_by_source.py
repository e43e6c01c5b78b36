"""A shortcut by which sources differ is found by leaving a source out; where there is none, no drop is shown."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

import hilum as interface
from hilum.errors import RecipeError
from hilum.evaluation.crossval import crossval
from hilum.evaluation.crossval_schema import CrossValidation
from hilum.phantoms import write_phantoms
from hilum.report.crossval_page import write_crossval_page
from hilum.training.recipe import load_recipe
from hilum.training.run import open_run
from sizes import FULL

pytestmark = pytest.mark.usefixtures("small_evaluation")


def write_sources(folder, counts, exposure, signal, *, visible=1.0, seed=0):
    """Noise from several sources: each has a brightness of its own, and so many of the ill have a bright square."""
    folder.mkdir()
    generator = np.random.default_rng(seed)
    rows = []
    for source, labels in counts.items():
        for label, patients in labels.items():
            for patient in range(patients):
                pixels = generator.normal(exposure[source], 25, (40, 40))
                pixels[12:28, 12:28] += signal * (label != "normal" and patient < visible * patients)
                name = f"{source}-{label}-{patient}.png"
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name)
                rows.append((name, label, f"{source}{label}{patient}", source))
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "patient_id", "source"), *rows])
    return folder


@pytest.fixture
def north_is_ill(tmp_path):
    """Two sources of which the exposure tells which, and that tells the label in four of five; nothing else does."""
    counts = {"north": {"normal": 10, "ill": 40}, "south": {"normal": 40, "ill": 10}}
    return write_sources(tmp_path / "data", counts, {"north": 150, "south": 80}, signal=0)


@pytest.mark.slow
def test_a_source_that_tells_the_label_is_a_large_drop(north_is_ill, tmp_path, tiny, snapshot, hilum):
    settings = [word for key in [*tiny, "epochs=8"] for word in ("--set", key)]
    done = hilum("crossval", north_is_ill, "--by", "source", "--out", tmp_path / "cv", *settings, check=0)
    result = CrossValidation.from_json(json.loads((tmp_path / "cv" / "crossval.json").read_text()))
    found = result.sources
    assert found.auroc.drop.low > 0
    assert found.auroc.unseen.low < 0.5 < found.auroc.unseen.high
    assert [(one.name, one.n_images, one.prevalence) for one in found.sources] == [
        ("north", 50, 0.8),
        ("south", 50, 0.2),
    ]
    assert found.n_train[0] == pytest.approx(found.n_train[1], abs=2)
    first = next(line for line in done.stdout.splitlines() if line.strip())
    assert first.startswith("At a source that it never saw: AUROC of ill")
    page = (tmp_path / "cv" / "crossval.html").read_text()
    assert page.index("At a source that it never saw") < page.index("All folds pooled")
    for number, name in ((1, "north"), (2, "south")):
        rows = open_run(tmp_path / "cv" / f"fold-{number}").rows
        assert {row.source for row in rows if row.split == "test"} == {name}
        assert name not in {row.source for row in rows if row.split in ("train", "val", "calibration")}
    ordinary = CrossValidation.from_json(json.loads((tmp_path / "cv" / "ordinary" / "crossval.json").read_text()))
    assert ordinary.pooled.n_images == 100

    again = hilum("crossval", north_is_ill, "--by", "source", "--out", tmp_path / "cv", *settings, "--resume", check=0)
    assert again.stdout == done.stdout


@pytest.mark.ci
def test_no_drop_is_shown_where_sources_do_not_differ(tmp_path, tiny):
    counts = {name: {"normal": 25, "ill": 25} for name in ("north", "south")}
    root = write_sources(tmp_path / "data", counts, {"north": 100, "south": 100}, signal=40)
    result = crossval(root, tmp_path / "cv", load_recipe("compact", [*tiny, "epochs=4"]), by="source", repeats=2)
    found = result.sources
    assert found.auroc.unseen.value > 0.9
    assert found.auroc.drop.low <= 0 <= found.auroc.drop.high


def test_a_label_of_one_source_is_said_first(tmp_path, tiny, snapshot):
    counts = {"north": {"normal": 9, "ill": 9, "covid": 8}, "south": {"normal": 9, "ill": 9}, "ward": {"ill": 6}}
    exposure = dict.fromkeys(counts, 100)
    root = write_sources(tmp_path / "data", counts, exposure, signal=40)
    done = interface.cross_validate(
        root, tmp_path / "cv", load_recipe("compact", [*tiny, "epochs=1"]), by="source", reference=False, progress=False
    )
    found = done.sources
    assert [(item.label, item.source) for item in found.confounded] == [("covid", "north")]
    assert (found.label, found.labels) == ("ill", ["normal", "ill"])
    assert done.runs[0].labels == ("normal", "ill")
    assert done.runs[1].labels == ("normal", "covid", "ill")
    ward = found.sources[2]
    assert (ward.auroc.value, ward.prevalence) == (None, 1)
    assert ward.sensitivity.value is not None
    assert found.auroc.drop.value is None
    assert str(done).strip().startswith("covid comes from one source only (north)")
    page = write_crossval_page(tmp_path / "cv", done.result).read_text()
    assert page.index("covid comes from one source only") < page.index("At a source that it never saw")
    snapshot("\n".join(done.result.notes))


def test_a_series_by_another_column_is_not_continued(north_is_ill, tmp_path, tiny, refuses):
    recipe = load_recipe("compact", [*tiny, "epochs=1"])
    crossval(north_is_ill, tmp_path / "cv", recipe, by="source", reference=False)
    with refuses(RecipeError, "other-choices"):
        crossval(north_is_ill, tmp_path / "cv", recipe, folds=2, resume=True)


def test_images_of_unknown_source_are_left_out(north_is_ill, tmp_path, tiny):
    table = north_is_ill / "metadata.csv"
    table.write_text(
        table.read_text().replace("northill0,north", "northill0,").replace("southill1,south", "southill1,")
    )
    result = crossval(
        north_is_ill, tmp_path / "cv", load_recipe("compact", [*tiny, "epochs=1"]), by="source", reference=False
    )
    assert result.pooled.n_images == 98
    assert any(note.startswith("2 images without a value of 'source'") for note in result.notes)


PLAIN = ["preprocessing.size=48", "equalise=false", "local_contrast=0", "gamma=0", "mixup=0"]
INFECTED = dict.fromkeys(("infected/covid", "infected/non-covid"), "infected")


def phantom_sources(root, patients):
    """Radiographs with true lesions from two sources, whose exposure goes with the label."""
    folders = []
    for number, (name, kept) in enumerate((("north", 0.2), ("south", 1.0))):
        write_phantoms(root / name, patients=patients, size=64, seed=number)
        chosen = np.random.default_rng(number)
        for file in sorted((root / name).rglob("*.png")):
            share = kept if "normal" in file.parts else 1.2 - kept
            if chosen.random() > share:
                file.unlink()
                continue
            pixels = np.asarray(Image.open(file).convert("L"), float)
            bright = pixels * 0.5 + (100 if name == "north" else 0)
            Image.fromarray(bright.clip(0, 255).astype(np.uint8)).save(file)
        folders.append(root / name)
    for folder in folders:
        (folder / "truth.json").unlink()  # it would say that rows are missing
        table = folder / "metadata.csv"
        header, *lines = table.read_text().splitlines()
        place = header.split(",").index("path")
        table.write_text("\n".join([header, *(line for line in lines if (folder / line.split(",")[place]).exists())]))
    return interface.open_dataset(folders, map_label=INFECTED, progress=False)


@pytest.mark.slow
@pytest.mark.skipif(not FULL, reason="as long as three others: make test SLOW=full")
def test_phantoms_of_two_sources_with_other_exposure_show_a_drop(tmp_path):
    data = phantom_sources(tmp_path / "all", 240)
    found = crossval(
        data, tmp_path / "cv", load_recipe("compact", [*PLAIN, "epochs=8"]), by="dataset", repeats=2
    ).sources
    assert found.auroc.drop.low > 0


@pytest.mark.slow
def test_equal_sources_show_no_drop_in_most_of_several_seeds(tmp_path, tiny):
    """Where an image tells much, but not all: a single series may show a drop by chance."""
    counts = {name: {"normal": 25, "ill": 25} for name in ("north", "south")}
    shown = []
    for seed in range(4):
        root = write_sources(
            tmp_path / f"data-{seed}", counts, {"north": 100, "south": 100}, 40, visible=0.6, seed=seed
        )
        recipe = load_recipe("compact", [*tiny, "epochs=4", f"training.seed={100 * seed}"])
        found = crossval(root, tmp_path / f"cv-{seed}", recipe, by="source", repeats=2, seed=seed).sources.auroc
        assert 0.65 < found.unseen.value < 0.95
        shown.append(not found.drop.low <= 0 <= found.drop.high)
    assert sum(shown) <= 1
