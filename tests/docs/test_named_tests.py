"""Commands of tests that stand beside figures in the documentation: what they name is there, and so are its marks."""

import re
import shlex
from itertools import pairwise

import pytest

from places import ROOT

COMMAND = re.compile(r"`(?:[A-Z_]+=\S+ )*pytest ([^`]+)`")
COMMANDS = sorted(
    {
        " ".join(words.split())
        for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
        for words in COMMAND.findall(page.read_text(encoding="utf-8"))
    }
)


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_names_tests_and_marks_that_exist(words):
    parts = shlex.split(words)
    places = [ROOT / part for part in parts if part.startswith("tests/")]
    files = [file for place in places for file in (sorted(place.rglob("test_*.py")) if place.is_dir() else [place])]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    assert text
    asked = dict(pairwise(parts))
    assert "-m" not in asked or re.search(rf"^(@|pytestmark.*)pytest\.mark\.{asked['-m']}\b", text, re.MULTILINE)
    assert "-k" not in asked or re.search(rf"^def test_\w*{asked['-k']}", text, re.MULTILINE)


def test_there_are_such_commands():
    assert len(COMMANDS) > 5
