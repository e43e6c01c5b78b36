"""Names are data, not markup: text from files made safe to show, whatever it holds.

Names of files, labels and models come from anywhere. What a terminal would obey (escape sequences), what would turn the
order of letters (bidirectional marks, Unicode TR 36), what cannot be encoded (lone surrogates, as Python reads names
that are not UTF-8), and line ends are shown as backslash escapes.
"""

from __future__ import annotations

import re
import unicodedata

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
