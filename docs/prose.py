"""Check the prose: no word that the glossary replaced, and short sentences.

``python docs/prose.py`` reads README, the pages of the documentation, the newest part of the changelog, the public
docstrings, and what hilum prints: messages, help texts and the templates of its pages. It prints each offence as
``file:line: what`` and ends with exit code 1 if there is any. ``--all`` prints the medians, too.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
MEDIAN = 18  # words of a page's median sentence, at most
LONG = 30  # words; what is longer is a long sentence
MAY_BE_LONG = 0.08  # share of a page's sentences
SPOKEN = 3  # words from which a string is read as a message
FEW = 8  # pages of fewer sentences have no median worth checking

# Old words and what to say, where no other sense of the word occurs in hilum. A pattern matches whole words.
REPLACED = {
    r"abstaining": "selective prediction, or abstention",
    r"album": "explanation gallery",
    r"carv(?:e|es|ed|ing)": "hold out",
    r"certified (?:miss|false-negative) rate|certificate of a miss rate": "guaranteed sensitivity",
    r"cr(?:y|ies) wolf": "false alarm",
    r"foretold": "predicted",
    r"given away": "confounded",
    r"in so many words": "leave it out",
    r"mend(?:s|ed|ing)?": "clean, or correct",
    r"miss(?:-| )rates?": "false-negative rate",
    r"penultimate": "last features",
    r"protect(?:ed|ing) (?:label|group|class)e?s?": "positive label",
    r"shipped": "pretrained",
    r"strangers?|strangeness|stranger": "OOD",
    r"superfluous(?!:)": "redundant",
    r"the seed report(?:'s)?": "the original report",
    r"told (?:apart|by|from|of|that|to|of)": "a plain verb (distinguished, reported, recognised by)",
    r"unfamiliar(?:ity)?(?!:)|familiarity": "out of distribution",
    r"whom to tell|who is told": "a plain verb",
    r"whose worth|worth is known|what (?:answers|results) are worth": "how accurate",
}
# The same for what hilum prints, where further words have a plainer one.
IN_MESSAGES = {
    r"alike": "similar, or equally",
    r"anew": "again",
    r"by itself": "separately",
    r"by lot": "at random",
    r"(?:go|goes|went) (?:on|together)": "continue, or associated",
    r"in other words": "leave it out",
    r"is no (?:run|dataset|image|table|file|folder|number|label|path|model)": "is not a",
    r"it is not clear": "unclear",
    r"looked (?:at|for)": "checked, or used",
    r"look(?:s)? at": "review",
    r"no network here": "no network of hilum",
    r"on (?:its|their|the) way": "leave it out",
    r"passed over": "skipped",
    r"put together": "combined",
    r"says? (?:so|nothing|what|which|where|whose|how|that)": "states, or name",
    r"speaks? (?:of|for|against)": "describes, or supports",
    r"tell(?:s|ing)?": "predicts, distinguishes, or states",
    r"told": "stated",
    r"whence|thereby|whom|who is who": "a plain word",
    r"worth": "performance",
}


def compiled(words: Mapping[str, str]) -> list[tuple[re.Pattern[str], str]]:
    """Patterns of whole words, with what to say instead."""
    return [(re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE), better) for pattern, better in words.items()]


WORDS, MESSAGES = compiled(REPLACED), compiled(REPLACED | IN_MESSAGES)


@dataclass(frozen=True)
class Text:
    """Prose of one place: paragraphs with the line on which each begins."""

    name: str
    paragraphs: tuple[tuple[int, str], ...]


def paragraphs_of_markdown(page: str) -> Iterator[tuple[int, str]]:
    """Yield the paragraphs and list items of a page: no code, table, heading, comment or front matter."""
    held: list[str] = []
    begun, fence = 0, ""
    page = re.sub(r"<!--.*?-->", lambda found: "\n" * found[0].count("\n"), page, flags=re.S)
    for number, line in enumerate([*page.splitlines(), ""], start=1):
        bare = line.strip()
        if fence or (opened := re.match(r"(```|~~~)", bare)):
            ends = bool(fence) and bare.startswith(fence)
            fence = "" if ends else fence or opened[1]
            bare = ""
        item = re.match(r"(?:[-*+]|\d+\.) +(?:\[[ x]\] )?(.*)", bare)
        skipped = not bare or bare.startswith(("#", "|", "![", "<", "!!!", "???", ":::", "=== ", "[!"))
        if (item or skipped) and held:
            yield begun, " ".join(held)
            held = []
        if skipped:
            continue
        begun = begun if held else number
        held.append(item[1] if item else bare)


def sentences(paragraph: str) -> list[str]:
    """Split a paragraph: a full stop, question mark or exclamation mark before a space ends a sentence."""
    plain = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", paragraph)  # links by their text
    plain = re.sub(r"``?([^`]*)``?", "code", plain)
    plain = re.sub(r"\b(e\.g|i\.e|et al|vs|Fig|cf)\.", r"\1", plain)
    found = re.split(r"(?<=[.?!])[\"')*_]*\s+(?=[\"'(*_]*[\w\"'])", plain)
    return [one for one in found if any(letter.isalpha() for letter in one)]


def length(sentence: str) -> int:
    """Words of a sentence; numbers and dashes by themselves are none."""
    return sum(any(letter.isalpha() for letter in word) for word in sentence.split())


def offences(
    text: Text, *, measured: bool = True, words: Sequence[tuple[re.Pattern[str], str]] = WORDS
) -> Iterator[str]:
    """Yield what is wrong with a text.

    Args:
        text: Its paragraphs.
        measured: Whether the length of its sentences counts.
        words: What is replaced.
    """
    for line, paragraph in text.paragraphs:
        prose = re.sub(r"``?[^`]*``?|\]\([^)]*\)", "", paragraph)
        for pattern, better in words:
            for found in pattern.finditer(prose):
                yield f"{text.name}:{line}: '{found[0]}': say {better}"
    lengths = [(length(one), line, one) for line, paragraph in text.paragraphs for one in sentences(paragraph)]
    if not measured or len(lengths) < FEW:
        return
    if (middle := median(words for words, *_ in lengths)) > MEDIAN:
        yield f"{text.name}: the median sentence has {middle:g} words, more than {MEDIAN}"
    long = [one for one in lengths if one[0] > LONG]
    if len(long) > MAY_BE_LONG * len(lengths):
        yield f"{text.name}: {len(long)} of {len(lengths)} sentences have more than {LONG} words"
        for words, line, sentence in sorted(long, reverse=True):
            yield f"{text.name}:{line}: {words} words: {sentence[:60]}..."


def pages() -> Iterator[Text]:
    """README, documentation, contributing and the newest part of the changelog."""
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").rglob("*.md")]):
        content = path.read_text(encoding="utf-8")
        if path.name == "CHANGELOG.md":
            content = re.split(r"^## \[?\d", content, maxsplit=1, flags=re.M)[0]
        yield Text(path.relative_to(ROOT).as_posix(), tuple(paragraphs_of_markdown(content)))


def docstrings() -> Iterator[Text]:
    """Docstrings of every module, class and function."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for path in sorted((ROOT / "src").rglob("*.py")):
        found: list[tuple[int, str]] = []
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, kinds) and (text := ast.get_docstring(node)):
                first = node.body[0].lineno
                found += [(first + line - 1, words) for line, words in paragraphs_of_markdown(text)]
        yield Text(path.relative_to(ROOT).as_posix(), tuple(found))


def messages() -> Iterator[Text]:
    """What hilum prints: strings of several words in its source, and the text of its templates."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        found = strings_of(path.read_text(encoding="utf-8"))
        yield Text(path.relative_to(ROOT).as_posix(), tuple(found))
    for path in sorted((ROOT / "src").rglob("*.html.j2")):
        found = text_of_template(path.read_text(encoding="utf-8"))
        yield Text(path.relative_to(ROOT).as_posix(), tuple(found))


def strings_of(source: str) -> Iterator[tuple[int, str]]:
    """Yield the strings of a module with at least `SPOKEN` words: no docstring, and ``{}`` for what is filled in."""
    inside: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            inside.add(id(node.value))
        if id(node) in inside or not isinstance(node, ast.JoinedStr | ast.Constant):
            continue
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in node.values}
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        else:
            text = node.value if isinstance(node.value, str) else ""
        if len(re.findall(r"[A-Za-z]{2,}", text)) >= SPOKEN:
            yield node.lineno, re.sub(r"{\w*}", "", text)


def text_of_template(template: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a template without its tags and statements."""
    bare = re.sub(r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}|<[^>]*>", lambda m: "\n" * m[0].count("\n"), template, flags=re.S)
    yield from ((number, line.strip()) for number, line in enumerate(bare.splitlines(), start=1) if line.strip())


def main() -> int:
    """Print every offence; 1 if there is any."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--all", action="store_true", help="Print the median of every page, too.")
    asked = parser.parse_args()
    wrong = 0
    for texts, measured, words in ((pages(), True, WORDS), (docstrings(), False, WORDS), (messages(), False, MESSAGES)):
        for text in texts:
            if asked.all and measured:
                lengths = [length(one) for _, paragraph in text.paragraphs for one in sentences(paragraph)]
                long = sum(one > LONG for one in lengths)
                print(f"{text.name}: {len(lengths)} sentences, median {median(lengths or [0]):g}, {long} over {LONG}")
            for offence in offences(text, measured=measured, words=words):
                print(offence)
                wrong += 1
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
