"""The pages of ``--explain``: wrong answers first, then right ones, then those whose truth is not known."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from hilum.errors import UsageError
from hilum.serving.answer import Answer
from hilum.serving.bundle import Bundle
from hilum.serving.explanation import decisions

PER_PAGE = 100  # figures: 2 to 20 MB of pictures, loaded as they come into sight
PANEL = 210  # CSS pixels that each panel of a picture has at least
MOST_FAILED = 200  # unreadable files that are listed; --json and --csv have all
ABOUT = (
    "Colour marks what speaks for the answer; where several decisions are taken, one picture shows each. A map says "
    "where the network found its reasons, not whether they are good ones. Not for diagnosis."
)
ORDER = "Wrong answers come first, the surest of them at the top; then right ones, the least sure first."
STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1400px;padding:0 1rem;color:#1a1a1a}"
    "h1{margin:0 0 .5rem}h2{margin:2rem 0 .8rem;border-bottom:1px solid #ccc}p{max-width:75ch}"
    ".grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,var(--card)),1fr));gap:1.6rem 1.4rem}"
    "figure{margin:0;min-width:0}img{width:100%;height:auto;display:block}"
    "figcaption{font-size:14px;overflow-wrap:anywhere}"
    "dl{display:grid;grid-template-columns:max-content 1fr;gap:0 .7rem;margin:.4rem 0 0}dt{color:#666}dd{margin:0}"
    ".wrong{color:#a1161b;font-weight:600}.right{color:#1b6e37;font-weight:600}"
    "nav a,nav b{display:inline-block;padding:.1rem .5rem;margin:0 .15rem .3rem 0;border:1px solid #ccc}"
    "nav b{background:#eee}table{border-collapse:collapse;margin:1rem 0}"
    ".scroll{overflow-x:auto}th,td{padding:.15rem .5rem;text-align:right;border-bottom:1px solid #ddd}"
    "th:first-child{text-align:left}thead th{font-weight:600}tbody th{font-weight:400}td.off{color:#a1161b}"
    "li{overflow-wrap:anywhere}"
)


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture of the album.

    Attributes:
        picture: Its file, below the album's folder.
        size: Width and height in pixels, so that a page need not load it to know where the next one goes.
        name: What distinguishes the image from the others.
        answer: About it.
        truth: The label that its folders name; empty where they name none.
    """

    picture: str
    size: tuple[int, int]
    name: str
    answer: Answer
    truth: str

    @property
    def group(self) -> str:
        """``Wrong``, ``Right``, or ``Truth not known``."""
        return "Truth not known" if not self.truth else "Right" if self.truth == self.answer.label else "Wrong"


def write_pages(folder: Path, shown: Sequence[Shown], failed: Sequence[Answer], bundle: Bundle) -> Path:
    """Write ``index.html``, and ``page-2.html`` and so on where there are more than `PER_PAGE` pictures.

    Args:
        folder: Where the pictures lie.
        shown: All pictures.
        failed: What could not be read.
        bundle: Whose answers they are.

    Returns:
        The first page.

    Raises:
        UsageError: A page cannot be written.
    """
    order = {"Wrong": 0, "Right": 1, "Truth not known": 2}
    ranked = sorted(shown, key=lambda one: (order[one.group], _sureness(one), one.name))
    parts = [ranked[start : start + PER_PAGE] for start in range(0, len(ranked), PER_PAGE)] or [[]]
    for number, part in enumerate(parts):
        file = folder / _file(number)
        first = _summary(shown, failed, bundle) if not number else ""
        last = _failures(failed) if number == len(parts) - 1 else ""
        nav = _navigation(number, ranked, len(parts))
        body = f"{first}{nav}{_figures(part, bundle)}{nav}{last}"
        try:
            file.write_text(_page(body, bundle), encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            msg = f"{file}: cannot be written ({error.strerror}). Choose another folder for --explain."
            raise UsageError(msg) from error
    return folder / _file(0)


def _sureness(one: Shown) -> float:
    probability = one.answer.probabilities[one.answer.label]
    return -probability if one.group == "Wrong" else probability if one.group == "Right" else 0.0


def _file(number: int) -> str:
    return f"page-{number + 1}.html" if number else "index.html"


def _page(body: str, bundle: Bundle) -> str:
    title = html.escape(f"What {bundle.name} looks at")
    head = '<meta charset="utf-8"><meta name="generator" content="hilum">'  # by which readers of datasets pass it over
    head += f'<meta name="viewport" content="width=device-width"><title>{title}</title>'
    top = f'<!doctype html>\n<html lang="en"><head>{head}<style>{STYLE}</style></head>'
    card = PANEL * (1 + len(decisions(bundle)))
    return f'{top}\n<body style="--card:{card}px"><h1>{title}</h1><p>{ABOUT}</p>\n{body}\n</body></html>\n'


def _summary(shown: Sequence[Shown], failed: Sequence[Answer], bundle: Bundle) -> str:
    kinds = Counter(one.group for one in shown)
    told = [f"{kinds[name]:,} {name.lower()}" for name in ("Wrong", "Right", "Truth not known") if kinds[name]]
    told += [f"{len(failed):,} could not be read"] if failed else []
    order = f" {ORDER}" if kinds["Wrong"] or kinds["Right"] else ""
    text = f"<p><b>{len(shown) + len(failed):,} images: {', '.join(told)}.</b>{order}</p>\n"
    return text + (_confusion(shown, bundle) if kinds["Wrong"] or kinds["Right"] else "")


def _confusion(shown: Sequence[Shown], bundle: Bundle) -> str:
    """How often each truth got each answer."""
    pairs = Counter((one.truth, one.answer.label) for one in shown if one.truth)
    names = {label: html.escape(bundle.display[label]) for label in bundle.labels}
    head = "".join(f"<th>{name}</th>" for name in names.values())
    rows = []
    for truth in bundle.labels:
        cells = (
            f"<td{' class=off' if truth != label and pairs[truth, label] else ''}>{pairs[truth, label]:,}</td>"
            for label in names
        )
        rows.append(f"<tr><th>{names[truth]}</th>{''.join(cells)}</tr>")
    body = f"<thead><tr><th>filed as, and answered</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="scroll"><table>{body}</table></div>\n'


def _navigation(number: int, ranked: Sequence[Shown], pages: int) -> str:
    if pages == 1:
        return ""
    links = []
    for other in range(pages):
        groups = dict.fromkeys(one.group.lower() for one in ranked[other * PER_PAGE : (other + 1) * PER_PAGE])
        text = f"{other + 1}: {', '.join(groups)}"
        links.append(f"<b>{text}</b>" if other == number else f'<a href="{_file(other)}">{text}</a>')
    return f"<nav>Pages {''.join(links)}</nav>\n"


def _figures(part: Sequence[Shown], bundle: Bundle) -> str:
    text, before = [], ""
    for one in part:
        if one.group != before:
            text.append(f'{"</div>" if before else ""}<h2>{one.group}</h2>\n<div class="grid">')
            before = one.group
        text.append(_figure(one, bundle))
    return "\n".join([*text, "</div>\n" if before else ""])


def _figure(one: Shown, bundle: Bundle) -> str:
    answer, (width, height) = one.answer, one.size
    said = f"{bundle.display[answer.label]}, {answer.probabilities[answer.label]:.1%}"
    source = html.escape(quote(one.picture, errors="surrogateescape"))
    picture = f'<img loading="lazy" width="{width}" height="{height}" src="{source}" alt="{html.escape(said)}">'
    entries = "".join(f"<dt>{name}</dt><dd{of}>{html.escape(value)}</dd>" for name, value, of in _entries(one, bundle))
    name = f"<b>{html.escape(one.name)}</b>"
    return f'<figure><a href="{source}">{picture}</a><figcaption>{name}<dl>{entries}</dl></figcaption></figure>'


def _entries(one: Shown, bundle: Bundle) -> Iterator[tuple[str, str, str]]:
    """Name, value and class of what is said below a picture."""
    answer = one.answer
    if one.truth:
        yield "truth", bundle.display[one.truth], ""
    kind = {"Wrong": ' class="wrong"', "Right": ' class="right"'}.get(one.group, "")
    yield "answer", f"{bundle.display[answer.label]}, {answer.probabilities[answer.label]:.1%}", kind
    others = (label for label in bundle.labels if label != answer.label)
    yield "others", "; ".join(f"{bundle.display[label]} {answer.probabilities[label]:.1%}" for label in others), ""
    yield "decision", f"{answer.decision}: {answer.reason}", ""
    for note in answer.notes:
        yield "note", note, ""


def _failures(failed: Sequence[Answer]) -> str:
    if not failed:
        return ""
    items = "".join(f"<li>{html.escape(one.path)}: {html.escape(one.error)}</li>" for one in failed[:MOST_FAILED])
    more = f"<p>And {len(failed) - MOST_FAILED:,} more.</p>" if len(failed) > MOST_FAILED else ""
    return f"<h2>Could not be read: {len(failed):,}</h2>\n<ul>{items}</ul>{more}\n"
