"""Numbers in words, in one style for terminal, pages, cards and answers: ``89.3 % (95 % CI 86.0 to 92.2)``.

Needs nothing but Python, so that serving uses the same functions as the report.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class Range(Protocol):
    """The limits of a measure; None where they are undefined."""

    @property
    def low(self) -> float | None:
        """Lower limit."""

    @property
    def high(self) -> float | None:
        """Upper limit."""


Limits = Range | Mapping[str, float | None] | None
UNDEFINED = "–"
ROUNDING = 1e-12  # a difference that is smaller is none


def percent(value: float | None, digits: int = 1) -> str:
    """``88.3 %``; only a true 1 is shown as 100.0 %, only a true 0 as 0.0 %.

    Args:
        value: A share; a dash where it is None or not finite.
        digits: Number of decimals.
    """
    if value is None or not math.isfinite(value):
        return UNDEFINED
    step = 10.0**-digits
    if 0 < value < step / 200:
        return f"< {step:.{digits}f} %"
    if 1 - step / 200 <= value < 1:
        return f"> {100 - step:.{digits}f} %"
    return f"{100 * value:.{digits}f} %"


def fraction(value: float | None, digits: int = 3) -> str:
    """``0.962``, as AUROC is usually given; a dash where it is None or not finite."""
    return UNDEFINED if value is None or not math.isfinite(value) else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float | None, factor: float = 100, digits: int = 1) -> str:
    """A difference: ``+2.3``, ``−0.5``, ``0.0``; one more digit where it would otherwise look like none.

    Args:
        value: A dash where it is None or not finite.
        factor: 100 for percentage points.
        digits: Number of decimals.
    """
    if value is None or not math.isfinite(value):
        return UNDEFINED
    number = factor * value
    if abs(number) < ROUNDING:  # what sums of floating-point numbers leave of nothing
        number = 0.0
    if number and abs(number) < 0.5 * 10**-digits:
        digits += 1
    if not round(number, digits):
        return f"{0:.{digits}f}"
    return f"{number:+.{digits}f}".replace("-", "−")


def percent_range(entry: Limits, digits: int = 1) -> str:
    """``85.6 to 90.7 %`` of a measure's ``low`` and ``high``; a dash where they are undefined."""
    return _range(percent(_number(entry, "low"), digits), percent(_number(entry, "high"), digits))


def fraction_range(entry: Limits, digits: int = 3) -> str:
    """``0.951 to 0.972`` of a measure's ``low`` and ``high``; a dash where they are undefined."""
    return _range(fraction(_number(entry, "low"), digits), fraction(_number(entry, "high"), digits))


def signed_range(entry: Limits, factor: float = 100, digits: int = 1) -> str:
    """``−0.5 to +5.1`` of a difference's ``low`` and ``high``; a dash where they are undefined."""
    return _range(signed(_number(entry, "low"), factor, digits), signed(_number(entry, "high"), factor, digits))


def _number(entry: Limits, name: str) -> float | None:
    found: float | None = entry.get(name) if isinstance(entry, Mapping) else getattr(entry, name, None)
    return found


def _range(low: str, high: str) -> str:
    return UNDEFINED if UNDEFINED in (low, high) else f"{low.removesuffix(' %')} to {high}"


def measured(
    entry: Limits, *, as_percent: bool = True, sign: bool = False, digits: int | None = None
) -> tuple[str, str]:
    """A measure and its interval for two lines of a table's cell: ``("89.3 %", "86.0 to 92.2 %")``.

    Args:
        entry: ``value``, ``low`` and ``high``; dashes where they are None, or all of it.
        as_percent: Whether it is a share; else a number such as an AUROC.
        sign: Whether it is a difference; a share's is in points.
        digits: Number of decimals; by default 1 of a share, else 3.
    """
    value, digits = _number(entry, "value"), (1 if as_percent else 3) if digits is None else digits
    if sign:
        factor = 100 if as_percent else 1
        return signed(value, factor, digits), signed_range(entry, factor, digits)
    if as_percent:
        return percent(value, digits), percent_range(entry, digits)
    return fraction(value, digits), fraction_range(entry, digits)


def interval_text(
    entry: Limits,
    *,
    as_percent: bool = True,
    sign: bool = False,
    digits: int | None = None,
    confidence: float = 0.95,
    more: str = "",
) -> str:
    """A measure with its interval in a sentence: ``89.3 % (95 % CI 86.0 to 92.2)``; a dash where it is undefined.

    Args:
        entry: ``value``, ``low`` and ``high``.
        as_percent: As `measured` takes it, like `sign` and `digits`.
        sign: Whether it is a difference.
        digits: Number of decimals.
        confidence: Confidence level of the interval, in (0, 1).
        more: Put behind the interval, in the same brackets.
    """
    value, limits = measured(entry, as_percent=as_percent, sign=sign, digits=digits)
    if UNDEFINED in (value, limits):
        return UNDEFINED
    unit = " points" if sign and as_percent else ""
    return f"{value}{unit} ({100 * confidence:g} % CI {limits.removesuffix(' %')}{more and '; '}{more})"


def cell_text(entry: Limits, *, as_percent: bool = True, sign: bool = False) -> str:
    """A measure with its interval below a heading that names both: ``89.3 (86.0 to 92.2)``.

    Args:
        entry: ``value``, ``low`` and ``high``.
        as_percent: Whether it is a share; else a number such as an AUROC.
        sign: Whether it is a difference.
    """
    value, limits = measured(entry, as_percent=as_percent, sign=sign)
    if UNDEFINED in (value, limits):
        return UNDEFINED
    return f"{value.removesuffix(' %')} ({limits.removesuffix(' %')})"


def p_text(value: float) -> str:
    """A p-value as papers print it: ``< 0.001``, ``0.043``, ``0.21``."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def p_equals(value: float) -> str:
    """``p = 0.11`` or ``p < 0.001``."""
    text = p_text(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def plural(count: int, noun: str) -> str:
    """``1 image``, ``1,341 images``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def duration(seconds: float | None) -> str:
    """``4 min 32 s``; a dash where it is unknown."""
    if seconds is None:
        return UNDEFINED
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@dataclass(frozen=True, slots=True)
class Cell:
    """How many images of one truth got one answer, and which share of that truth they are."""

    count: int
    share: float
    right: bool


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """One true label: its cells by predicted label, their sum, and its recall."""

    label: str
    cells: tuple[Cell, ...]
    total: int
    recall: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """A confusion matrix as scikit-learn has it: rows are the true labels, columns the predicted ones."""

    labels: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    predicted_totals: tuple[int, ...]
    precisions: tuple[str, ...]
    total: int
    right: int
    accuracy: str


def result_matrix(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> Matrix:
    """Lay out a confusion matrix with its margins.

    Args:
        labels: K names.
        confusion: Counts (K, K), rows truth, columns predicted.
    """
    labels = tuple(labels)
    positions = range(len(labels))
    truths = tuple(sum(confusion[i]) for i in positions)
    predicted = tuple(sum(confusion[i][j] for i in positions) for j in positions)
    right = sum(confusion[i][i] for i in positions)

    def ratio(part: int, whole: int) -> float | None:
        return part / whole if whole else None

    return Matrix(
        labels=labels,
        rows=tuple(
            MatrixRow(
                label=labels[i],
                cells=tuple(
                    Cell(confusion[i][j], (ratio(confusion[i][j], truths[i]) or 0.0), i == j) for j in positions
                ),
                total=truths[i],
                recall=percent(ratio(confusion[i][i], truths[i])),
            )
            for i in positions
        ),
        predicted_totals=predicted,
        precisions=tuple(percent(ratio(confusion[j][j], predicted[j])) for j in positions),
        total=sum(truths),
        right=right,
        accuracy=percent(ratio(right, sum(truths))),
    )


HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # Unicode's general categories


def is_text(name: str) -> bool:
    """Whether a name is valid UTF-8: what is not arrives as lone surrogates, which cannot be printed."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def printable(text: str) -> str:
    """The text with everything that a terminal could obey or hide as an escape; letters of any script stay.

    Args:
        text: Anything.

    Returns:
        One line that can be encoded as UTF-8.
    """
    return "".join(_escaped(letter) if unicodedata.category(letter) in HIDDEN else letter for letter in text)


def visible(text: str) -> str:
    """As `printable`, with every difference to see: blanks at the ends and letters that are composed of two.

    Args:
        text: A name that looks like another one.
    """
    inner = text.strip()
    front, back = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :] if inner else ""
    shown = "".join(_escaped(letter) if _looks_like_another(letter) else printable(letter) for letter in inner)
    return "".join(map(_escaped, front)) + shown + "".join(map(_escaped, back))


def _looks_like_another(letter: str) -> bool:
    """Whether it is part of a letter, or a blank other than the usual one."""
    return bool(unicodedata.combining(letter)) or (unicodedata.category(letter) == "Zs" and letter != " ")


def escape(text: str) -> str:
    """A text for Rich's markup: as `printable`, and its square brackets are no tags."""
    from rich.markup import escape as without_tags

    return without_tags(printable(text))


def encodable(text: str) -> str:
    """The text with nothing changed but what UTF-8 cannot hold, for CSV and JSON, which quote the rest themselves."""
    return text if is_text(text) else "".join(letter if is_text(letter) else _escaped(letter) for letter in text)


def markdown(text: str) -> str:
    """The text for Markdown: as `printable`, and nothing in it is a heading, a link, a table's cell or HTML."""
    return re.sub(r"([\\`*_\[\]<>#|~&])", r"\\\1", printable(text))


def code_span(text: str) -> str:
    """The text as code in Markdown, within a table too; backticks and bars in it end nothing."""
    shown = printable(text).replace("|", "\\|")
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    edge = " " if "`" in shown else ""
    return f"{fence}{edge}{shown}{edge}{fence}"


def on_page(value: object) -> object:
    """What a template puts on a page: as `printable`, but line ends and tabs stay, and so does what is HTML already."""
    if hasattr(value, "__html__"):
        return value
    return "".join(letter if letter in "\n\t" else printable(letter) for letter in str(value))


def _escaped(letter: str) -> str:
    code = ord(letter)
    if letter == " ":
        return "␠"
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return letter.encode("ascii", "backslashreplace").decode() if code > 0x7F else f"\\x{code:02x}"
