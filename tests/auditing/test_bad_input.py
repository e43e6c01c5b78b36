"""Whatever a folder holds: what can be audited is, what cannot is named, and nothing hangs or falls over."""

import json
import os
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from hilum.auditing import scan as survey_module
from hilum.auditing.audit import audit
from hilum.auditing.scan import scan
from hilum.data.readers.read import read_table
from hilum.errors import TableError
from sizes import sized


def test_no_images_and_one_label_have_one_message(hilum, tmp_path, one_message):
    (tmp_path / "empty").mkdir()
    one_message(hilum("audit", tmp_path / "empty", "--out", tmp_path / "a"), 1)
    one = tmp_path / "one" / "normal"
    one.mkdir(parents=True)
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(one / "1.png")
    one_message(hilum("audit", tmp_path / "one", "--out", tmp_path / "a"), 1)
    assert not (tmp_path / "a").exists()


def test_unreadable_files_are_named_and_the_rest_is_audited(write_dataset):
    root = write_dataset(metadata=False)
    folder = root / "train" / "normal"
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("not an image")
    (folder / "cut.png").write_bytes((folder / "tr000-0.png").read_bytes()[:300])
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "folder.png").mkdir()
    if os.geteuid():
        (folder / "locked.png").touch(mode=0)
    found = audit(root)
    lost = {item["path"].split("/")[-1]: item["message"] for item in found.report.to_json()["unreadable"]}
    assert set(lost) >= {"empty.png", "text.png", "cut.png", "gone.png"}
    assert found.report.to_json()["n_images"] == 72
    (finding,) = [finding for finding in found.findings if finding.check == "unreadable"]
    assert finding.severity == "error"  # more than one in twenty
    assert all(path in finding.evidence.model_dump_json() for path in lost)


def test_not_one_readable_file_is_one_message(write_dataset, hilum, tmp_path, one_message):
    root = write_dataset(patients=2)
    for file in root.rglob("*.png"):
        file.write_bytes(b"")
    one_message(hilum("audit", root, "--out", tmp_path / "a"), 1)


def test_loops_of_links_end(write_dataset):
    root = write_dataset(metadata=False)
    folder = root / "train" / "normal"
    (folder / "back").symlink_to(root)
    (folder / "self.png").symlink_to("self.png")
    (folder / "again").symlink_to(folder)
    found = audit(root)
    assert found.report.to_json()["n_images"] == 72
    assert [item["path"] for item in found.report.to_json()["unreadable"]] == ["train/normal/self.png"]


def test_names_in_any_encoding_survive(write_dataset, hilum, tmp_path):
    root = write_dataset(metadata=False)
    folder = os.fsencode(root / "train" / "normal")
    names = [
        "Röntgen Thorax.png".encode("latin-1"),
        "胸部.png".encode(),
        "胸部.png".encode("shift-jis"),
        b"[bold]x.png",
    ]
    for name in names:
        shutil.copy(root / "train/normal/tr000-0.png", os.path.join(folder, name))  # noqa: PTH118
    os.symlink(b"nowhere", os.path.join(folder, b"gone-\xff.png"))  # noqa: PTH118, PTH211
    result = hilum("audit", root, "--out", tmp_path / "a", "--json", "--clean", root / "mended.csv", check=0)
    assert "gone-\\udcff.png" in result.stdout
    hilum("audit", root, "--out", tmp_path / "b", check=0, PYTHONIOENCODING="utf-8:backslashreplace")
    facts = json.loads((tmp_path / "a" / "audit.json").read_text())
    assert facts["n_images"] == 76
    assert len(facts["unreadable"]) == 1
    assert max(map(len, facts["duplicates"]["groups"])) == 5
    assert "胸部.png" in (tmp_path / "a" / "audit.html").read_text()
    assert len(read_table(root / "mended.csv")) == 72  # one of five copies


def test_files_and_folders_may_go_while_they_are_read(write_dataset, monkeypatch):
    root = write_dataset(metadata=False)
    table = read_table(root)
    look, count = survey_module._look, iter(range(10**6))

    def disturbed(table, row):
        if next(count) == 5:
            shutil.rmtree(root / "train" / "infected")
            (root / "train" / "normal" / "tr003-0.png").write_bytes(b"other")
        return look(table, row)

    monkeypatch.setattr(survey_module, "CHUNK", 1000)  # one thread, in order
    monkeypatch.setattr(survey_module, "_look", disturbed)
    seen = scan(table)
    assert len(seen) + len(seen.unreadable) == 72
    assert len(seen.unreadable) > 40
    assert any("no such file" in item.message for item in seen.unreadable)


def test_a_folder_that_goes_while_it_is_listed_is_passed_over(write_dataset, monkeypatch):
    root = write_dataset(metadata=False)
    scandir, count = os.scandir, iter(range(10**6))

    def disturbed(folder):
        if next(count) == 1:  # the root and its first folder were listed
            shutil.rmtree(root / "train" / "infected" / "covid")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", disturbed)
    try:
        assert set(read_table(root).labels) >= {"normal"}
    except TableError as error:
        pytest.fail(str(error))


@pytest.mark.slow
def test_a_hundred_thousand_tiny_files_take_no_minutes(tmp_path):
    """Files of other kinds, and images too small to be radiographs: all are listed, most are not read."""
    generator = np.random.default_rng(0)
    for label in ("normal", "covid"):
        (tmp_path / label).mkdir()
        for i in range(50):
            Image.fromarray(generator.integers(0, 255, (40, 40), np.uint8)).save(tmp_path / label / f"good{i}.png")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "tiny.png")
    tiny = (tmp_path / "tiny.png").read_bytes()
    (tmp_path / "tiny.png").unlink()
    many = sized(25_000, 100_000)
    for i in range(many):
        (tmp_path / ("normal", "covid")[i % 2] / f"{i}.png").write_bytes(tiny)
    begin = time.process_time()
    found = audit(tmp_path)
    assert time.process_time() - begin < 120
    assert found.report.to_json()["n_images"] == 100
    assert len(found.report.to_json()["unreadable"]) == many
    assert len(json.dumps(found.report.to_json()["findings"])) < 50_000
