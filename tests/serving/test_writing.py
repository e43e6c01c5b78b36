"""Answers in files: whole, never over what somebody else made, and kept when something ends the work."""

import csv
import json
import os
import resource
import signal
import sys

import numpy as np
import pytest
from PIL import Image

from hilum.errors import UsageError
from hilum.serving.prediction import Prediction
from hilum.serving.predictor import Predictor
from hilum.serving.writing import takes_stdout, unfinished, writing
from killing import digests, in_child

OLD = b'{"path": "old.png"}\n'


@pytest.fixture(scope="module")
def predictor():
    return Predictor(threads=1)


@pytest.fixture
def images(tmp_path):
    """A few radiographs, one of which has no suffix, as those of a CD have none."""
    folder = tmp_path / "images"
    folder.mkdir()
    files = [folder / name for name in ("1.png", "2.png", "IM000001")]
    for number, file in enumerate(files):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 64), np.uint8)
        Image.fromarray(pixels).save(file, "PNG")
    return files


def write(predictor, answers, lines=None, table=None, **options):
    with writing(predictor, lines and str(lines), table and str(table), **options) as writer:
        for answer in answers:
            writer.write(answer)


def answer(predictor, number, path=""):
    labels = predictor.model_file.labels
    return Prediction(path or f"{number}.png", labels[0], labels[0], dict.fromkeys(labels, 1 / len(labels)), "clear")


def test_inputs_keep_every_byte_whatever_option_takes_their_names(predictor, images, tmp_path):
    (tmp_path / "link").symlink_to(images[0].parent, target_is_directory=True)
    (tmp_path / "m.onnx").write_bytes(predictor.model_file.model)
    before = digests(tmp_path)
    for number, file in enumerate([*images, tmp_path / "link" / "IM000001", tmp_path / "m.onnx"]):
        for options in ({"lines": file}, {"table": file}):
            with pytest.raises(UsageError):
                write(predictor, [answer(predictor, number)], **options, inputs=images)
    assert digests(tmp_path) == before
    assert digests(images[0].parent) == {file.name: before[f"images/{file.name}"] for file in images}


def test_the_model_in_use_is_an_input(images, tmp_path, refuses):
    file = tmp_path / "model"
    file.write_bytes(Predictor(threads=1).model_file.model)
    mine = Predictor(file, threads=1)
    with refuses(UsageError, "in-the-way", file):
        write(mine, [], lines=file)


def test_outputs_are_apart_from_each_other(predictor, tmp_path):
    for lines, table in (("a", "a"), ("-", "-"), ("-", "/dev/stdout"), ("a.unfinished", "a")):
        names = [name if name[0] in "-/" else str(tmp_path / name) for name in (lines, table)]
        with pytest.raises(UsageError):
            write(predictor, [], *names)
    with pytest.raises(UsageError):
        write(predictor, [], lines=tmp_path / "e" / "index.html", pictures=tmp_path / "e")
    assert takes_stdout(None, "-")
    assert takes_stdout("/dev/stdout", None)
    assert not takes_stdout("a", None)
    assert not list(tmp_path.iterdir())


def test_an_earlier_output_is_replaced_at_the_end(predictor, tmp_path):
    lines, table = tmp_path / "a.json", tmp_path / "a.csv"
    for count in (3, 2):
        with writing(predictor, str(lines), str(table)) as writer:
            before = lines.read_bytes() if lines.exists() else None
            for number in range(count):
                writer.write(answer(predictor, number))
            assert (lines.read_bytes() if lines.exists() else None) == before
        assert len(lines.read_text().splitlines()) == count
        with table.open(newline="") as file:
            assert len(list(csv.DictReader(file))) == count
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.csv", "a.json"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_was_answered_is_kept_and_the_earlier_output_too(predictor, tmp_path, error):
    lines, table, said = tmp_path / "a.json", tmp_path / "a.csv", []
    lines.write_bytes(OLD)

    def answers():
        yield answer(predictor, 1)
        yield answer(predictor, 2)
        raise error

    with pytest.raises(error):
        write(predictor, answers(), lines, table, say=said.append)
    assert lines.read_bytes() == OLD
    assert not table.exists()
    assert [json.loads(line)["path"] for line in unfinished(lines).read_text().splitlines()] == ["1.png", "2.png"]
    assert len(unfinished(table).read_text().splitlines()) == 3
    assert [str(unfinished(file)) in line for file, line in zip((lines, table), said, strict=True)] == [True, True]
    write(predictor, [answer(predictor, 3)], lines, table)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.csv", "a.json"]


def test_two_processes_never_mix_their_answers(predictor, tmp_path, refuses):
    lines = tmp_path / "a.json"
    with writing(predictor, str(lines), None) as one:
        one.write(answer(predictor, 1))
        with refuses(UsageError, "unwritable"):
            write(predictor, [answer(predictor, 3)], lines)
        one.write(answer(predictor, 2))
    assert [json.loads(line)["path"] for line in lines.read_text().splitlines()] == ["1.png", "2.png"]
    write(predictor, [answer(predictor, 3)], lines)
    assert [json.loads(line)["path"] for line in lines.read_text().splitlines()] == ["3.png"]
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_nothing_answered_leaves_nothing(predictor, tmp_path):
    with pytest.raises(RuntimeError), writing(predictor, str(tmp_path / "a.json"), str(tmp_path / "a.csv")):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


@pytest.mark.timeout(60)
def test_a_full_disk_keeps_full_lines_and_the_earlier_output(predictor, tmp_path):
    lines, table = tmp_path / "a.json", tmp_path / "a.csv"
    lines.write_bytes(OLD)

    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        with pytest.raises(OSError) as caught:
            write(predictor, (answer(predictor, number) for number in range(1000)), lines, table)
        assert caught.value.filename in (str(lines), str(table))

    assert in_child(limited, tmp_path).code == 0
    assert lines.read_bytes() == OLD
    kept = [json.loads(line)["path"] for line in unfinished(lines).read_text().splitlines()]
    with unfinished(table).open(newline="") as file:
        rows = [row["path"] for row in csv.DictReader(file)]
    assert len(kept) > 2
    assert kept == [f"{number}.png" for number in range(len(kept))]
    assert rows == kept[: len(rows)]
    assert all(file.read_bytes().endswith(b"\n") for file in (unfinished(lines), unfinished(table)))


@pytest.mark.timeout(60)
def test_killed_at_any_event_the_old_or_the_new_is_there(predictor, tmp_path):
    lines = tmp_path / "a.json"
    new = [answer(predictor, number) for number in range(20)]
    events = len(in_child(lambda: write(predictor, new, lines), tmp_path).events)
    whole = lines.read_bytes()
    for kill in range(1, events + 1):
        lines.write_bytes(OLD)
        assert in_child(lambda: write(predictor, new, lines), tmp_path, kill=kill).killed
        assert lines.read_bytes() == OLD
        assert whole.startswith(unfinished(lines).read_bytes() if unfinished(lines).exists() else b"")


def test_a_closed_standard_output_is_an_error(predictor, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    for options in ({"lines": "-"}, {"table": "-"}):
        with pytest.raises(UsageError):
            write(predictor, [answer(predictor, 1)], **options)


@pytest.mark.timeout(60)
def test_a_full_standard_output_is_an_error(predictor, tmp_path):
    def full():
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
        with open(1, "w", closefd=False) as stdout, pytest.MonkeyPatch.context() as patched:
            patched.setattr(sys, "stdout", stdout)
            with pytest.raises(OSError):
                write(predictor, [answer(predictor, 1)], "-")
            os.dup2(2, 1)

    ended = in_child(full, tmp_path)
    assert ended.code == 0, ended.said


def test_no_spreadsheet_runs_a_cell(predictor, tmp_path):
    names = ["=cmd|' /C calc'!A0.png", "@x.png", "+x.png", "-x.png", "\tx.png", "x=1.png"]
    write(predictor, [answer(predictor, 0, name) for name in names], table=tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    assert paths == [*(f"'{name}" for name in names[:-1]), names[-1]]


def test_a_name_of_255_bytes_is_written(predictor, tmp_path):
    file = tmp_path / f"{'é' * 125}.json"
    write(predictor, [answer(predictor, 1)], lines=file)
    assert [file.name for file in tmp_path.iterdir()] == [file.name]


def test_two_processes_do_not_write_answers_to_one_file(predictor, tmp_path):
    file = tmp_path / "answers"

    def second():
        with pytest.raises(UsageError):
            write(predictor, [answer(predictor, 7)], lines=file)

    with writing(predictor, str(file), None) as writer:
        writer.write(answer(predictor, 1))
        assert in_child(second, tmp_path).code == 0
        writer.write(answer(predictor, 2))
    assert [json.loads(line)["path"] for line in file.read_text().splitlines()] == ["1.png", "2.png"]
    write(predictor, [answer(predictor, 7)], lines=file)  # the first one has ended
    assert [json.loads(line)["path"] for line in file.read_text().splitlines()] == ["7.png"]
    assert [left.name for left in tmp_path.iterdir()] == ["answers"]
