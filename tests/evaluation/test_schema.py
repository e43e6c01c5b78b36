"""Results as records hold what their JSON files hold, also those of earlier versions."""

import json
import tarfile
from pathlib import Path

import pytest

from hilum.earlier import current
from hilum.errors import RunError
from hilum.evaluation.schema import Metrics

ARCHIVE = Path(__file__).parents[1] / "formats" / "0.1.0.tar.xz"


@pytest.fixture(scope="module")
def before():
    with tarfile.open(ARCHIVE) as archive:
        return json.load(archive.extractfile("./run/evaluation/test/metrics.json"))


def test_metrics_of_version_0_1_say_the_same_under_the_names_of_today(before):
    found = Metrics.from_json(before)
    assert found.to_json() == {"schema_version": 1, **current(before)}
    assert found.recall["infected/covid"].value == before["recall"]["infected/covid"]["value"]


def test_metrics_come_back_as_they_were_written(before):
    found = Metrics.from_json(before)
    assert Metrics.from_json(json.dumps(found.to_json())).to_json() == found.to_json()


@pytest.mark.parametrize(
    "content", ["", "[]", '{"labels": 3}', '{"n_images": {"a": ', "\x00", "[" * 100_000], ids=range(6)
)
def test_damaged_metrics_are_one_error_with_the_file_and_what_helps(tmp_path, content):
    file = tmp_path / "metrics.json"
    file.write_text(content)
    with pytest.raises(RunError) as caught:
        Metrics.read(file, "hilum evaluate RUN")
    assert (caught.value.code, caught.value.path) == ("damaged-metrics", file)
    assert str(file) in str(caught.value)
    assert "hilum evaluate RUN" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_records_cannot_be_changed(before):
    with pytest.raises(ValueError, match="frozen"):
        Metrics.from_json(before).accuracy.value = 1.0
