"""The ledger's file: whatever was done to it is found and named, and whatever was granted is in it."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hilum.errors import LedgerError, UsageError
from hilum.evaluation import ledger as module
from hilum.evaluation.ledger import (
    Access,
    Beginning,
    Granted,
    ImageList,
    Refusal,
    digest_of_set,
    image_set,
    ledger_file,
    open_ledger,
    place_of,
    read_ledger,
)

HASHES = [f"{number:064x}"[::-1] for number in range(50)]


def access(model):
    return Access(images="x", model=model, run="r", data="d", split="test", least=0, unrecorded=0)


@pytest.fixture
def book(tmp_path):
    """A ledger of six entries: its beginning, images, and four of a kind."""
    file = tmp_path / "team" / "ledger.jsonl"
    with open_ledger(file) as ledger:
        ledger.add_images(image_set(HASHES))
        for number in range(4):
            ledger.add(access(f"model {number}"))
    return file


def lines_of(file):
    return file.read_text().splitlines(keepends=True)


def test_what_is_written_is_read_again(book):
    ledger = read_ledger(book)
    assert [entry.n for entry in ledger.entries] == [1, 2, 3, 4, 5, 6]
    assert [entry.model for entry in ledger.of(Access)] == [f"model {number}" for number in range(4)]
    images = image_set(HASHES)
    assert ledger.images(digest_of_set(images)) == images
    assert ledger.images("another") == frozenset()
    with open_ledger(book) as again:
        assert again.add_images(image_set(HASHES[::-1])) == digest_of_set(images)  # in another order: the same
    assert len(read_ledger(book).entries) == 6


@pytest.mark.parametrize(
    ("damage", "line", "code"),
    [
        (lambda lines: [*lines[:3], lines[3].replace("model 1", "model 9"), *lines[4:]], 4, "changed"),
        (lambda lines: [*lines[:2], *lines[3:]], 3, "broken-chain"),
        (lambda lines: [*lines[:2], lines[3], lines[2], *lines[4:]], 3, "broken-chain"),
        (lambda lines: [*lines[:4], lines[4], *lines[4:]], 6, "broken-chain"),
        (lambda lines: [*lines[:4], "not JSON\n", *lines[4:]], 5, "no-entry"),
        (lambda lines: [*lines[:4], "[1]\n", *lines[4:]], 5, "no-entry"),
        (lambda lines: [*lines[:5], lines[5][:40]], 6, "cut-off"),
        (lambda lines: [*lines, "\n"], 7, "no-entry"),
        (lambda lines: [*lines[:4], "[" * 99999 + "\n", *lines[4:]], 5, "no-entry"),
        (lambda lines: ["\udcff\udcfe\n", *lines], 1, "no-entry"),
    ],
    ids=[
        "edited",
        "taken out",
        "exchanged",
        "put in",
        "no JSON",
        "no object",
        "deep",
        "cut off",
        "empty line",
        "no text",
    ],
)
def test_a_damaged_ledger_is_named_with_the_line(book, damage, line, code, refuses):
    book.write_bytes("".join(damage(lines_of(book))).encode(errors="surrogateescape"))
    with refuses(LedgerError, code, book) as caught:
        read_ledger(book)
    assert f"line {line}: " in caught.value.message
    with refuses(LedgerError, code, book), open_ledger(book):
        pass


def test_an_entry_that_was_edited_and_hashed_anew_does_not_fit_the_next_one(book, refuses):
    lines = lines_of(book)
    entry = {key: value for key, value in json.loads(lines[3]).items() if key != "hash"} | {"model": "model 9"}
    lines[3] = module._line(entry | {"hash": module._hash(entry)}).decode()
    book.write_text("".join(lines))
    with refuses(LedgerError, "broken-chain"):
        read_ledger(book)


@pytest.mark.parametrize("changes", [{"model": 3}, {"least": "many"}, {"images": None}, {"kind": ["access"]}])
def test_an_entry_whose_hash_is_right_and_whose_types_are_not_is_named(book, changes):
    lines = lines_of(book)
    entry = json.loads(lines[-1]) | changes
    book.write_text("".join([*lines[:-1], module._line(entry | {"hash": module._hash(entry)}).decode()]))
    module._head(book).unlink()
    with pytest.raises(LedgerError) as caught:
        read_ledger(book)
    assert (caught.value.code, caught.value.path) == ("no-entry", book)


def test_whole_lines_missing_at_the_end_are_found(book, refuses):
    whole = lines_of(book)
    book.write_text("".join(whole[:4]))
    with refuses(LedgerError, "lines-missing"):
        read_ledger(book)
    book.unlink()
    with refuses(LedgerError, "lines-missing"):
        read_ledger(book)
    book.write_text("".join(whole))
    read_ledger(book)


def test_a_ledger_of_others_in_its_place_is_found(book, tmp_path, refuses):
    with open_ledger(tmp_path / "other.jsonl") as other:
        for number in range(9):
            other.add(access(f"another {number}"))
    book.write_bytes((tmp_path / "other.jsonl").read_bytes())
    with refuses(LedgerError, "lines-missing"):
        read_ledger(book)


def test_a_process_that_died_between_entry_and_head_leaves_a_good_ledger(book):
    head = book.with_name("ledger.jsonl.head")
    before = head.read_text()
    with open_ledger(book) as ledger:
        ledger.add(access("last"))
    head.write_text(before)
    assert len(read_ledger(book).entries) == 7


def test_a_head_of_no_entry_is_as_none(book):
    book.with_name("ledger.jsonl.head").write_text('{"entries": -99, "hash": "x"}')
    assert len(read_ledger(book).entries) == 6


def test_a_ledger_that_grows_while_it_is_read_is_no_damaged_one(book, monkeypatch):
    from hilum.evaluation import ledger

    read = ledger.read_whole

    def read_and_add(file, limit):
        found = read(file, limit)
        if file == book:
            monkeypatch.undo()
            with open_ledger(book) as opened:
                opened.add(access("meanwhile"))
        return found

    monkeypatch.setattr(ledger, "read_whole", read_and_add)
    assert len(read_ledger(book).entries) == 6


@pytest.mark.parametrize("content", ["{}", "[]", "x", '{"entries": "many"}', '{"entries": 1e999}', "[" * 99999])
def test_a_damaged_head_is_named(book, content, refuses):
    head = book.with_name("ledger.jsonl.head")
    head.write_text(content)
    if content == "{}":
        assert len(read_ledger(book).entries) == 6
    else:
        with refuses(LedgerError, "damaged-head"):
            read_ledger(book)


@pytest.mark.parametrize(
    ("first", "code"),
    [('{"kind": "ledger", "format": 2}', "other-format"), ('{"path": "a.png", "label": "normal"}', "no-entry")],
)
def test_another_format_is_named(tmp_path, first, code, refuses):
    file = tmp_path / "ledger.jsonl"
    facts = {"n": 1, "time": "", "before": "", **json.loads(first)}
    facts["hash"] = module._hash(facts)
    file.write_text(json.dumps(facts) + "\n")
    with refuses(LedgerError, code, file):
        read_ledger(file)


def test_a_full_disk_leaves_the_ledger_as_it_was(book, monkeypatch, refuses):
    before = book.read_bytes()
    real = os.write

    def full(handle, data):
        if len(data) > 20:
            return real(handle, bytes(data)[:20])  # some of it still fits
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def none_left(handle, data):
        real(handle, bytes(data)[:20])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for write in (full, none_left):
        monkeypatch.setattr(module.os, "write", write)
        with refuses(LedgerError, "unwritable"), open_ledger(book) as ledger:
            ledger.add(access("m"))
        assert book.read_bytes() == before
    monkeypatch.undo()
    assert len(read_ledger(book).entries) == 6


def test_a_place_where_nobody_may_write_is_named(tmp_path, refuses):
    (tmp_path / "file").touch()
    with refuses(LedgerError, "unwritable"), open_ledger(tmp_path / "file" / "ledger.jsonl"):
        pass


def test_where_it_lies_can_be_chosen(tmp_path, monkeypatch):
    monkeypatch.setenv("HILUM_LEDGER", str(tmp_path / "team.jsonl"))
    assert ledger_file() == tmp_path / "team.jsonl"
    assert ledger_file(tmp_path / "mine.jsonl") == tmp_path / "mine.jsonl"
    assert ledger_file(tmp_path) == tmp_path / "ledger.jsonl"
    monkeypatch.delenv("HILUM_LEDGER")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert ledger_file() == tmp_path / "data" / "hilum" / "ledger.jsonl"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ledger_file() == tmp_path / ".local" / "share" / "hilum" / "ledger.jsonl"
    assert place_of(ledger_file()) == "~/.local/share/hilum/ledger.jsonl"
    assert ledger_file(Path("~/x.jsonl")) == tmp_path / "x.jsonl"


CLAIMANT = """
import sys
from pathlib import Path
from hilum.data.dataset import Row
from hilum.data.dataset import Dataset
from hilum.errors import CertificateError
from hilum.evaluation.attempts import reserve
from hilum.evaluation.claim import Claim
from hilum.evaluation.triage_schema import CertifiedModel

table = Dataset(Path("."), tuple(Row(f"{n}.png", "ill", sha256=f"{n:016x}".ljust(64, "0")) for n in range(9)))
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    claim = Claim("ill", ("ill",), 0.1, 0.95, CertifiedModel(weights_sha256=f"{sys.argv[2]} {number}"))
    try:
        print(reserve(Path(sys.argv[1]), table, claim, run=Path("run"), attempts=50).ledger.number)
    except CertificateError:
        pass
"""


@pytest.mark.slow
def test_of_processes_at_once_as_many_have_a_place_as_there_are(tmp_path):
    """Four processes make 20 attempts each on the same nine patients, of which 50 are planned."""
    file = tmp_path / "ledger.jsonl"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMANT, str(file), str(k)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for k in range(4)
    ]
    assert [process.stdout.readline() for process in started] == ["ready\n"] * 4
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    granted = sorted(int(line) for process in started for line in process.communicate(timeout=120)[0].split())
    assert [process.returncode for process in started] == [0] * 4
    assert granted == [*range(1, 51)]
    ledger = read_ledger(file)
    assert len(ledger.of(Granted)) == 50
    assert len(ledger.of(Refusal)) == 30
    assert len(ledger.of(ImageList)) == 1


def test_without_room_for_the_head_the_ledger_is_as_it_was(tmp_path, monkeypatch):
    file = tmp_path / "ledger.jsonl"
    with open_ledger(file) as ledger:
        ledger.add(Beginning(format=1, hilum="0"))
    before = file.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hilum.evaluation.ledger.save_json", full)
    with open_ledger(file) as ledger, pytest.raises(LedgerError):
        ledger.add(access("x"))
    assert file.read_bytes() == before


@pytest.mark.timeout(30)
def test_a_ledger_is_a_file_of_hilum(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "x.png").write_bytes(b"\x89PNG")
    for place in (tmp_path / "pipe", tmp_path / "x.png", Path("/dev/null")):
        with pytest.raises(UsageError):
            ledger_file(place)
    assert ledger_file(tmp_path) == tmp_path / "ledger.jsonl"
    assert ledger_file(tmp_path / "new") == tmp_path / "new"


def test_a_ledger_whose_first_line_is_damaged_is_no_mistake_of_the_user(tmp_path):
    file = tmp_path / "ledger.jsonl"
    with open_ledger(file) as ledger:
        ledger.add(access("x"))
    file.write_bytes(b"x" + file.read_bytes()[1:])
    with pytest.raises(LedgerError):
        read_ledger(ledger_file(file))
