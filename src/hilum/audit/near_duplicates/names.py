"""What a file name says about copies: `90Rotated_x.jpg`, `x_flip.png` and `x (1).png` may be made from `x`.

A name is a hint, never a proof: two patients' files may be called `1.png` and `1 (1).png`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

_STRONG = (
    r"rot(?:at(?:ed?|ion|ing))?|turned|flip(?:ped)?|mirror(?:ed)?|transposed?|aug(?:ment(?:ed|ation)?)?|copy|copie|kopie|"
    r"copia|duplicate|bright(?:er|ness|ened)?|dark(?:er|ened)|contrast(?:ed)?|nois[ey]|blur(?:red)?|zoom(?:ed)?|"
    r"shift(?:ed)?|shear(?:ed)?|crop(?:ped)?|gamma|invert(?:ed)?|resized|rescaled|equali[sz]ed|clahe|jitter|"
    r"sharp(?:en(?:ed)?)?|elastic|distort(?:ed)?|translat(?:ed|ion)|hflip|vflip"
)
_WEAK = r"horizontal(?:ly)?|vertical(?:ly)?|random|gaussian|left|right|lr|ud|cw|ccw|deg(?:rees?)?|h|v"
_WORD = re.compile(rf"\d{{0,3}}(?:{_WEAK})*(?:{_STRONG})(?:{_STRONG}|{_WEAK})*\d{{0,4}}")
_BESIDE = re.compile(
    rf"(?:{_WEAK})|\d{{1,4}}(?:{_WEAK})?"
)  # what belongs to the word beside it: rot_90, flip_h, aug_0_12
_NUMBERED = re.compile(r"\s*\(\d+\)$")
_ROBOFLOW = re.compile(r"(?:_(?:jpe?g|png|bmp))?\.rf\.[0-9a-z]{16,}$", re.IGNORECASE)
_BETWEEN = re.compile(r"[\s_\-.+]+")
MOST_ORIGINALS = 4  # of one stem, in different folders, with which a file is compared
MOST_ALIKE = 64  # files of one stem that are compared: more are a way of counting (`COVID (1).png`), not copies


def is_altered(path: str) -> bool:
    """Whether a file's name says that it was made from another file, or numbers it as a second one."""
    return bool(_stems(path)[1])


def hints(paths: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs of files of which the name of the second says that it was made from the first, or both from a third.

    Args:
        paths: Relative to the dataset.
    """
    stems = [_stems(path) for path in paths]
    plain: defaultdict[str, list[int]] = defaultdict(list)
    altered: defaultdict[str, list[int]] = defaultdict(list)
    for position, (whole, shorter) in enumerate(stems):
        plain[whole].append(position)
        for stem in shorter:
            altered[stem].append(position)
    for stem, copies in altered.items():
        originals = [position for position in plain.get(stem, []) if position not in copies]
        if len(copies) > MOST_ALIKE:
            continue
        for copy in copies if originals else copies[1:]:
            beside = [position for position in originals if _folder(paths[position]) == _folder(paths[copy])]
            yield from ((original, copy) for original in (beside or originals or copies[:1])[:MOST_ORIGINALS])


def say_so(paths: Sequence[str]) -> list[int]:
    """Which of the files of one picture, by position, bear the name of another one of them with a word added."""
    stems = [_stems(path) for path in paths]
    named = []
    for position, (_, shorter) in enumerate(stems):
        others = {stem for k, (whole, parts) in enumerate(stems) if k != position for stem in (whole, *parts)}
        if shorter & others:
            named.append(position)
    return named


def _folder(path: str) -> str:
    return PurePosixPath(path).parent.as_posix()


def _stems(path: str) -> tuple[str, frozenset[str]]:
    """A file's stem, in one spelling, and what remains of it without what says that it is a copy, if anything does."""
    stem = PurePosixPath(path).stem
    found = set()
    bare = _ROBOFLOW.sub("", _NUMBERED.sub("", stem))
    if bare != stem:
        found.add(_spelt(bare))
    words = _words(bare)
    beside = False
    short, shorter = [], []  # without the words; without the numbers beside them, too
    for word in words:
        if _WORD.fullmatch(word):
            beside = True
            continue
        if not (beside and _BESIDE.fullmatch(word)):
            beside = False
            shorter.append(word)
        short.append(word)
    if len(short) < len(words):
        found |= {"_".join(short), "_".join(shorter)}
    return _spelt(stem), frozenset(found - {""})


def _words(stem: str) -> list[str]:
    return [word.lower() for word in _BETWEEN.split(stem) if word]


def _spelt(stem: str) -> str:
    return "_".join(_words(stem))
