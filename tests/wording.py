"""What hilum says, word for word, in `snapshots`: one file an area, renewed by `make snapshots`.

Tests assert types, codes, paths and numbers; wording is compared with what was kept, after paths, hashes and seconds
were made the same on every machine.
"""

import re
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from places import shared_folder

HERE = Path(__file__).resolve().parent
KEPT = HERE / "snapshots"
ENTRY = re.compile(r"^## (.+)\n", re.MULTILINE)
NUMBER = re.compile(r"(?<![\w.-])\d+(?:\.\d+)?(?![\w.]*\w)")
CHANGING = (
    (
        re.compile(
            r"^[A-Z][a-z ]+: [\d,]+ of [\d,]+(?: in [\d.]+ s| {2}).*\n?|^[A-Z][a-z ]+: [\d,]+ of [\d,]+\n", re.M
        ),
        "",
    ),
    (re.compile(r"\b(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{8,}\b"), "HASH"),
    (re.compile(r"\b\d+\.\d+ s\b"), "N s"),
    (re.compile(r"\b\d+(\.\d+){2,}\b"), "VERSION"),
    (re.compile(r"\b20\d\d-\d\d-\d\dT[\d:]+(?:\+\d\d:\d\d|Z)?"), "TIME"),
    (re.compile(r"\b(process|id) \d+(?: on \S+)?"), r"\1 N"),
    (re.compile(r"\bpython -m pytest\.hilum\b"), "hilum"),
    (re.compile(r"(?<=Usage: )\S.*?\bhilum\b"), "hilum"),
    (re.compile(r"(?<=\[OPTIONS\])\n +"), " "),  # where the line breaks depends on the program's name
    (re.compile(r"[ \t]+$", re.MULTILINE), ""),
)
renewed: dict[Path, dict[str, str]] = {}


def pytest_addoption(parser):
    parser.addoption("--renew-snapshots", action="store_true", help="keep today's wording of the tests that run")


def read_entries(file):
    parts = ENTRY.split(file.read_text(encoding="utf-8")) if file.exists() else [""]
    return {key: text.rstrip("\n") for key, text in zip(parts[1::2], parts[2::2], strict=True)}


def test_of(key):
    """The test of an entry, without the number of the entry."""
    return key.split(" -- ")[0]


def is_there(key):
    module, _, name = test_of(key).partition("::")
    file = HERE / module
    return file.exists() and f"def {name.split('[')[0]}(" in file.read_text(encoding="utf-8")


def pytest_sessionfinish():
    """Several processes may renew one file."""
    for file, entries in renewed.items():
        with FileLock(Path(tempfile.gettempdir(), "hilum-snapshots.lock")):
            run = {test_of(key) for key in entries}
            kept = {key: text for key, text in read_entries(file).items() if test_of(key) not in run and is_there(key)}
            file.parent.mkdir(exist_ok=True)
            pages = [f"## {key}\n{text}\n\n" for key, text in sorted({**kept, **entries}.items())]
            file.write_text("".join(pages).removesuffix("\n"), encoding="utf-8", newline="\n")


def numbers(text):
    """The numbers that a text states, as it writes them: what does not change with its wording."""
    return set(NUMBER.findall(text))


def normalised(text, base):
    """Text without what differs from machine to machine and from run to run."""
    text = re.sub(rf"{re.escape(str(base))}/(?:popen-gw\d+/)?[^/\s'\":,;]+", "TMP", text)
    text = re.sub(r"/\S*/site-packages/", "SITE/", text)  # which may lie below the project
    text = text.replace(str(HERE.parent), "HILUM").encode("utf-8", "backslashreplace").decode()
    for pattern, word in CHANGING:
        text = pattern.sub(word, text)
    return text.strip("\n")


@pytest.fixture
def snapshot(request, tmp_path_factory):
    """Compare a text with the one kept, with or without its numbers and line breaks.

    Texts of one test are counted; one that comes again is compared once.
    """
    module = request.path.relative_to(HERE)
    file = KEPT / f"{module.parts[0] if len(module.parts) > 1 else 'top'}.txt"
    test = f"{module.as_posix()}::{request.node.name}"
    base, kept = shared_folder(tmp_path_factory), read_entries(file)
    known = []

    def compare(text, numbers=True):
        said = normalised(text, base)
        said = said if numbers else " ".join(NUMBER.sub("N", said).split())
        assert said, "nothing was said"
        if said in known:
            return
        known.append(said)
        key = f"{test} -- {len(known)}" if len(known) > 1 else test
        if request.config.getoption("--renew-snapshots"):
            renewed.setdefault(file, {})[key] = said
        else:
            assert said == kept.get(key), f"{key}: another wording. If it is meant: make snapshots"

    yield compare
    missing = [key for key in kept if test_of(key) == test][len(known) :] if known else []
    assert not missing or request.config.getoption("--renew-snapshots"), f"not said any more: {missing}"


@pytest.fixture
def refuses(snapshot):
    """Expect an error of exactly this type and code (and path), whose wording is that of the snapshot."""

    @contextmanager
    def expect(kind, code, path=None):
        with pytest.raises(kind) as caught:
            yield caught
        error = caught.value
        assert (type(error), error.code) == (kind, code), error
        assert path is None or error.path == Path(path)
        snapshot(f"{kind.__name__} {code}: {error}")

    return expect


@pytest.fixture
def one_message(snapshot):
    """Expect what bad input has to end in: an exit code and one message, whose wording is that of the snapshot."""

    def expect(result, code):
        assert result.returncode == code, result.stdout + result.stderr
        said = re.split(r"^(?=error:|usage:)", result.stderr, flags=re.MULTILINE)[1:]
        assert len(said) == 1, result.stderr
        snapshot(said[0].splitlines()[0])

    return expect
