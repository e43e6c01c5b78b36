"""What the shortcut probes are shown: enough to see a shortcut, too little to see a lung."""

from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from hilum.auditing.probe_features import CORNER, EDGE, THUMBNAIL, probes
from hilum.auditing.scan import LEVELS, SIDE, Container, Scan
from hilum.data.dataset import Dataset, Row

FILE = Container(size=5000, format="PNG", mode="L", width=100, height=100)


def survey_of(n=8, *, thumbnails=None, files=None, columns=(), histograms=None):
    """A scan of n images, half of them 'covid'; columns are (name, values)."""
    extra = [{name: values[i] for name, values in columns} for i in range(n)]
    rows = [Row(f"{i}.png", ("normal", "covid")[i % 2], extra=MappingProxyType(extra[i])) for i in range(n)]
    return Scan(
        table=Dataset(Path("data"), tuple(rows)),
        containers=tuple(files or [FILE] * n),
        thumbnails=np.zeros((n, SIDE, SIDE), np.uint8) if thumbnails is None else thumbnails,
        histograms=np.full((n, LEVELS), 1 / LEVELS, np.float32) if histograms is None else histograms,
        pixels=tuple(str(i) for i in range(n)),
        unreadable=(),
    )


def features(scan):
    return {probe.name: probe.features for probe in probes(scan)[0]}


def changed(**changes):
    """The probes that see a difference between files that differ only in this."""
    other = Container(**{**{name: getattr(FILE, name) for name in FILE.__slots__}, **changes})
    found = features(survey_of(files=[FILE, other] * 4))
    return {name for name, matrix in found.items() if not np.isclose(matrix[0], matrix[1]).all()}


@pytest.mark.parametrize(
    "setting",
    [
        {"format": "JPEG"},
        {"mode": "RGB"},
        {"quantisation": "abc"},
        {"exif": 3},
        {"dpi": "72x72"},
        {"profile": True},
        {"progressive": True},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_each_setting_of_a_file_is_seen_by_the_container_probe_alone(setting):
    assert changed(**setting) == {"container"}


def test_dimensions_and_bytes_are_probes_of_their_own():
    assert changed(size=6000) == {"size on disk"}
    assert changed(width=80, height=125) == {"dimensions"}  # as many pixels: bytes per pixel are the same
    assert changed(width=200) == {"dimensions", "size on disk"}


def places_seen():
    """For each pixel probe, which of (64, 64) pixels of the thumbnail it can see."""
    lit = np.zeros((SIDE * SIDE // 16, SIDE, SIDE), np.uint8)
    blocks = [(row, column) for row in range(0, SIDE, 4) for column in range(0, SIDE, 4)]
    for i, (row, column) in enumerate(blocks):
        lit[i, row + 1, column + 1] = 255  # one pixel of each block of four by four
    dark = features(survey_of(2))
    bright = features(survey_of(len(lit), thumbnails=lit))
    pixel_probes = ("8x8 thumbnail", "frame", "centre blacked out", "corners")
    return {
        name: {blocks[i] for i in range(len(lit)) if not np.allclose(bright[name][i], dark[name][0])}
        for name in pixel_probes
    }


def test_pixel_probes_see_only_what_they_say():
    seen = places_seen()
    assert len(seen["8x8 thumbnail"]) == 256
    inner = {(row, column) for row in range(EDGE, SIDE - EDGE - 4, 4) for column in range(EDGE, SIDE - EDGE - 4, 4)}
    assert not {place for place in seen["frame"] if all(EDGE <= at + 1 < SIDE - EDGE for at in place)}
    assert len(seen["frame"]) > (256 - len(inner)) / 2
    assert (SIDE // 2, SIDE // 2) not in seen["centre blacked out"]
    assert (0, SIDE // 2) in seen["centre blacked out"]
    assert all(at < CORNER or at >= SIDE - CORNER for place in seen["corners"] for at in place)
    assert len(seen["corners"]) == 4 * (CORNER // 4) ** 2


def test_the_thumbnail_is_64_means():
    images = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE)).astype(np.uint8)
    offered, _ = probes(survey_of(3, thumbnails=images))
    (found,) = (probe.features for probe in offered if probe.name == THUMBNAIL)
    assert found.shape == (3, 64)
    assert found[1, 9] == pytest.approx(images[1, 8:16, 8:16].mean() / 255)


def test_a_table_that_remembers_the_originals_offers_them():
    columns = [
        ("original_format", ["PNG", "JPEG"] * 4),
        ("original_width", ["1024", "512"] * 4),
        ("original_height", ["1024"] * 8),
    ]
    found = features(survey_of(columns=columns))
    assert found["original container"].shape == (8, 2)
    assert found["original dimensions"][1] == pytest.approx([np.log(512), np.log(1024), np.log(0.5)])
    assert not any(name.startswith("column:") for name in found)


def test_columns_are_probed_unless_they_name_the_image_or_the_label():
    values = {
        "age": ["40", "", "31", "70", "22", "65", "48", "59"],
        "view": ["PA", "AP", "PA", "", "PA", "AP", "PA", "AP"],
        "original_name": list("abcdefgh"),
        "study_id": ["1", "2", "3", "4", "5", "6", "7", "8"],
        "duplicate_group": ["1", "1", "2", "2", "3", "4", "5", "6"],
        "etiology": ["none", "viral"] * 4,
        "constant": ["x"] * 8,
        "answer": ["no", "yes"] * 4,
    }
    found, notes = probes(survey_of(columns=list(values.items())))
    columns = {probe.name: probe.features for probe in found if probe.name.startswith("column:")}
    assert set(columns) == {"column:age", "column:view"}
    assert columns["column:age"][1].tolist() == [48, 1]  # unknown: the median, and that it is unknown
    assert columns["column:view"].shape == (8, 2)  # what occurs once is no category
    (note,) = notes
    assert "'answer'" in note


def test_a_text_column_of_many_values_says_nothing_reliable():
    many = [f"text {i}" for i in range(40)]
    assert not [name for name in features(survey_of(40, columns=[("remark", many)])) if name.startswith("column:")]


def test_odd_sizes_of_the_originals_are_passed_over():
    columns = [("original_width", ["0", "9"] * 4), ("original_height", ["9", "nan"] * 4)]
    assert "original dimensions" not in features(survey_of(columns=columns))
