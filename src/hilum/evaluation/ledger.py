"""The ledger: an append-only record of attempts to certify and of test-set accesses, chained by hashes.

One line of JSON an entry. Each holds its number, the time, the hash of the entry before it, and its own hash, so that
an entry that was changed, taken out or put in breaks the chain at a line that can be named. ``<ledger>.head`` keeps
the number and hash of the last entry: a ledger that lost whole lines at its end is found by it. Hashes tell damage
and careless edits, not forgery: whoever can compute a hash can write another chain.

Images are known by the first 8 bytes of the SHA-256 of their files, whatever the folder, the order or the run. No
name of a patient is kept.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from pydantic import Field

from hilum import __version__
from hilum.earlier import current
from hilum.errors import LedgerError
from hilum.files import LARGEST_TABLE, append, locked, read_text, read_whole, save_json
from hilum.outputs import LEDGER, check_target
from hilum.stats.records import Record

FORMAT = 1
FILE = "ledger.jsonl"
VARIABLE = "HILUM_LEDGER"
BYTES = 8  # of a file's SHA-256; among ten million images two agree with a probability of 3 in a million
PATIENCE = 60.0  # seconds that another process may hold the lock
ANEW = (
    "Restore it from a copy. Or start another with --ledger FILE: the records of this one are then not counted; state "
    "this in reports"
)

ImageSet = frozenset[bytes]


class Entry(Record):
    """A line of the ledger.

    Attributes:
        n: Its number, from 1; 0 before it is added, as the rest of what follows is empty.
        time: When it was added, in UTC.
        before: Hash of the entry before it.
        hash: Its own.
    """

    kind: ClassVar[str] = ""
    n: int = 0
    time: str = ""
    before: str = ""
    hash: str = ""

    def written(self) -> dict[str, Any]:
        """What its line holds."""
        return {"kind": self.kind, **self.as_json()}

    def chained(self, before: Entry | None) -> Self:
        """The same entry as it follows another one, or begins the ledger."""
        frame = {"n": before.n + 1 if before else 1, "before": before.hash if before else ""}
        placed = self.model_copy(update={**frame, "time": datetime.now(UTC).isoformat(timespec="seconds")})
        return placed.model_copy(update={"hash": _hash(placed.written())})


class Beginning(Entry):
    """The first line: the format, and the version of hilum that began the ledger."""

    kind = "ledger"
    format: int
    hilum: str


class ImageList(Entry):
    """A set of images; entries about them name its digest. `ids` are the images in base64, 8 bytes each."""

    kind = "images"
    digest: str
    n_images: int
    ids: str


class OnImages(Entry):
    """What a model was used for on a set of images: its weights' hash, the set's digest; folders for people to read."""

    images: str
    model: str
    run: str
    data: str


class Access(OnImages):
    """An evaluation. `least`: its place among models as it was known before; `unrecorded`: evaluations before."""

    kind = "access"
    split: str
    least: int
    unrecorded: int


class Attempted(OnImages):
    """An attempt to certify that `group` has at most that false-negative rate; `attempt` is its identity."""

    attempt: str
    group: str
    false_negative_rate: float
    form: str = "float"


class Granted(Attempted):
    """An attempt that took a place (`hilum.evaluation.spending.Attempt`)."""

    kind = "attempt"
    confidence: float
    delta: float
    plan: str
    planned: int
    number: int
    counted: list[str]
    carried: str | None = None


class Refusal(Attempted):
    """An attempt that was refused, and why."""

    kind = "refusal"
    reason: str


class Result(Entry):
    """What an attempt came to, and the checksum of its certificate."""

    kind = "result"
    attempt: str
    checksum: str = Field(validation_alias="seal", serialization_alias="seal")
    threshold: float
    n_patients: int
    false_negatives: int


class Void(Entry):
    """An attempt whose place was given back: the number of its entry, and why."""

    kind = "void"
    attempt: str
    entry: int
    reason: str


KINDS: dict[str, type[Entry]] = {
    kind.kind: kind for kind in (Beginning, ImageList, Access, Granted, Refusal, Result, Void)
}
AnEntry = TypeVar("AnEntry", bound=Entry)


def ledger_file(chosen: Path | None = None) -> Path:
    """Where the ledger lies.

    Args:
        chosen: A file, or a folder that holds (or will hold) ``ledger.jsonl``. By default ``$HILUM_LEDGER``, else
            ``hilum/ledger.jsonl`` below ``$XDG_DATA_HOME`` or ``~/.local/share``.

    Raises:
        LedgerError: This user has no home folder, and no other place was named.
        UsageError: There is something else under that name.
    """
    named = chosen or (Path(value) if (value := os.environ.get(VARIABLE)) else None)
    try:
        if named is None:
            data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
            return data / "hilum" / FILE
        named = named.expanduser()
    except RuntimeError as error:  # a place that is gone with the container would not do
        msg = f"this user has no home folder for the ledger. Name a file: --ledger FILE or {VARIABLE}."
        raise LedgerError(msg) from error
    file = named / FILE if named.is_dir() else named
    option = "--ledger" if chosen else VARIABLE
    if file.exists() and not _head(file).exists():  # else it is a ledger, damaged perhaps: reading it says so
        check_target(file.resolve(), LEDGER, option=option)
    return file


def place_of(file: Path) -> str:
    """A ledger's path as results name it: absolute, with ``~`` for the home folder."""
    try:
        path, home = file.expanduser().absolute(), Path.home()
    except RuntimeError:  # there is none
        return str(file.absolute())
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)


def image_set(hashes: Iterable[str]) -> ImageSet:
    """Images as the ledger knows them.

    Args:
        hashes: SHA-256 of each file, in hexadecimal.
    """
    return frozenset(bytes.fromhex(value)[:BYTES] for value in hashes)


def digest_of_set(images: ImageSet) -> str:
    """The identity of a set of images: a SHA-256, whatever their order."""
    return hashlib.sha256(b"".join(sorted(images))).hexdigest()


class Ledger:
    """An opened ledger.

    Attributes:
        file: Where it lies.
        entries: All of its entries, in order.
    """

    def __init__(self, file: Path, entries: list[Entry]) -> None:
        self.file, self.entries = file, entries
        self._sets: dict[str, ImageSet] = {}

    def of(self, kind: type[AnEntry]) -> list[AnEntry]:
        """The entries of a kind, in order."""
        return [entry for entry in self.entries if isinstance(entry, kind)]

    def images(self, digest: str) -> ImageSet:
        """The images that a digest stands for; none where no entry lists them."""
        if not self._sets:
            for entry in self.of(ImageList):
                packed = base64.b64decode(entry.ids)
                self._sets[entry.digest] = frozenset(packed[i : i + BYTES] for i in range(0, len(packed), BYTES))
        return self._sets.get(digest, frozenset())

    def add_images(self, images: ImageSet) -> str:
        """List a set of images, unless that was done; returns its digest."""
        digest = digest_of_set(images)
        if not self.images(digest):
            packed = base64.b64encode(b"".join(sorted(images))).decode()
            self.add(ImageList(digest=digest, n_images=len(images), ids=packed))
            self._sets[digest] = images
        return digest

    def add(self, entry: AnEntry) -> AnEntry:
        """Append an entry; it is on the disk when this returns. Only while the ledger is open (`open_ledger`).

        Returns:
            The entry with its place in the chain.

        Raises:
            LedgerError: It cannot be written. The file is then as it was.
        """
        if not self.entries and not isinstance(entry, Beginning):
            self.add(Beginning(format=FORMAT, hilum=__version__))
        entry = entry.chained(self.entries[-1] if self.entries else None)
        size = self.file.stat().st_size if self.file.exists() else 0
        try:
            append(self.file, _line(entry.written()))
            self._write_head(entry)
        except OSError as error:
            with suppress(OSError):  # it may be the head alone that has no room
                os.truncate(self.file, size)
            raise LedgerError(_unwritable(self.file, error), code="unwritable", path=self.file) from error
        self.entries.append(entry)
        return entry

    def _write_head(self, entry: Entry) -> None:
        save_json(_head(self.file), {"entries": entry.n, "hash": entry.hash}, indent=None)


@contextmanager
def open_ledger(file: Path) -> Iterator[Ledger]:
    """Open a ledger for adding to it; whoever else wants to waits. It is made where there is none.

    Raises:
        LedgerError: It is damaged, or nobody may write there.
    """

    def refuse() -> None:
        msg = f"{file}: another process has held the ledger for {PATIENCE:.0f} seconds. Wait until it is done."
        raise LedgerError(msg)

    with ExitStack() as stack:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            lock = file.with_name(f"{file.name}.lock")
            stack.enter_context(locked(lock, refuse, silence=PATIENCE, mode=0o664))  # a team's, too
        except OSError as error:
            raise LedgerError(_unwritable(file, error), code="unwritable", path=file) from error
        if file.exists() and not os.access(file, os.W_OK):
            raise LedgerError(_unwritable(file, PermissionError(13, "Permission denied")))
        yield read_ledger(file)


def read_ledger(file: Path) -> Ledger:
    """Read a ledger and check that it is whole.

    Raises:
        LedgerError: It was edited, cut short, is of another format, or cannot be read.
    """
    try:
        # The head first: of a ledger that another process adds to meanwhile, the lines hold all that the head knows.
        known = json.loads(read_text(_head(file))) if _head(file).exists() else {}
        last, last_hash = max(0, int(known.get("entries", 0))), str(known.get("hash", ""))
        content = read_whole(file, LARGEST_TABLE) if file.exists() else b""
    except OSError as error:
        msg = f"{file}: the ledger cannot be read ({error.strerror}). Choose another one with --ledger or {VARIABLE}."
        raise LedgerError(msg) from error
    except (ValueError, AttributeError, TypeError, OverflowError, RecursionError) as error:
        msg = f"{_head(file)}: not in hilum's format. Delete this file if {file} is known to be complete."
        raise LedgerError(msg, code="damaged-head", path=_head(file)) from error
    lines = content.split(b"\n")
    if lines.pop():
        msg = (
            f"{file}, line {len(lines) + 1}: is truncated: writing was interrupted, or the file was cut. {ANEW}. If "
            f"all lines before it exist, this one granted nothing: delete it."
        )
        raise LedgerError(msg, code="cut-off", path=file)
    entries: list[Entry] = []
    for number, line in enumerate(lines, start=1):
        entries.append(_entry(file, number, line, entries[-1].hash if entries else ""))
    if last > len(entries) or (last and entries[last - 1].hash != last_hash):
        what = (
            f"has {len(entries)} entries; the last recorded number is {last}"
            if last > len(entries)
            else (f"line {last} differs from the recorded one")
        )
        msg = (
            f"{file}: {what}: lines were removed, or the ledger was replaced. {ANEW}. To continue with an older copy "
            f"on purpose, delete {_head(file).name} beside it."
        )
        raise LedgerError(msg, code="lines-missing", path=file)
    return Ledger(file, entries)


def _entry(file: Path, number: int, line: bytes, before: str) -> Entry:
    foreign = f"{file}, line {number}: not a ledger entry in hilum's format. {ANEW}."
    try:
        written = json.loads(line)
        kind, stated = written["kind"], written["hash"]
        right = _hash(written)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LedgerError(foreign, code="no-entry", path=file) from error
    if number == 1 and (kind != Beginning.kind or written.get("format") != FORMAT):
        found = f"format {written.get('format')}" if kind == Beginning.kind else f"begins with an entry '{kind}'"
        msg = (
            f"{file}: not a ledger of format {FORMAT} ({found}). Use the version of hilum that wrote it, or "
            "another --ledger FILE."
        )
        raise LedgerError(msg, code="other-format", path=file)
    if stated != right or line != _text(written).encode():  # a key that comes twice is none that hilum writes
        msg = f"{file}, line {number}: was changed after it was written. {ANEW}."
        raise LedgerError(msg, code="changed", path=file)
    try:
        entry = KINDS.get(kind, Entry).model_validate(current(written))
    except (ValueError, TypeError) as error:  # hashed anew by somebody
        raise LedgerError(foreign, code="no-entry", path=file) from error
    if entry.n != number or entry.before != before:
        msg = f"{file}, line {number}: does not follow the line before it: lines were removed or inserted. {ANEW}."
        raise LedgerError(msg, code="broken-chain", path=file)
    return entry


def _head(file: Path) -> Path:
    return file.with_name(f"{file.name}.head")


def _text(written: Mapping[str, object]) -> str:
    return json.dumps(written, sort_keys=True, separators=(",", ":"))


def _line(written: Mapping[str, object]) -> bytes:
    return (_text(written) + "\n").encode()


def _hash(written: Mapping[str, object]) -> str:
    """Of all that a line holds but the hash."""
    return hashlib.sha256(_text({key: value for key, value in written.items() if key != "hash"}).encode()).hexdigest()


def _unwritable(file: Path, error: OSError) -> str:
    return (
        f"{file}: the ledger cannot be written ({error.strerror or error}). Name a file that you may write to with "
        f"--ledger FILE or {VARIABLE}; copy this ledger there, so that its records count."
    )
