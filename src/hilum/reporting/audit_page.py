"""The page of an audit: findings, worst first, with the pictures that prove them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hilum.audit.audit import Audit
from hilum.audit.duplicates import Pair
from hilum.audit.findings import MISLEADS, ORDER
from hilum.audit.screen import grouped, of_patients, summary
from hilum.reporting import figures
from hilum.reporting.audit_evidence import evidence_of
from hilum.reporting.audit_figures import shortcut_dots
from hilum.reporting.gallery import picture_uri
from hilum.templating import write_page

MOST_PAIRS = 12
KINDS = {
    "identical": "identical files",
    "pixels": "the same pixels",
    "near": "near copies",
    "mirrored": "mirrored",
    "inverted": "black and white exchanged",
    "turned_90": "turned by 90°",
    "turned_180": "turned by 180°",
    "upside_down": "flipped upside down",
    "transposed": "mirrored and turned by 90°",
    "rotated": "rotated by a few degrees",
}


@dataclass(frozen=True)
class PictureOf:
    """One image of a pair."""

    path: str
    label: str
    split: str
    uri: str | None


def write_audit_page(folder: Path, audit: Audit) -> Path:
    """Write the page of an audit.

    Args:
        folder: Exists; where ``audit.json`` lies.
        audit: What was found.

    Returns:
        The file that was written, ``audit.html``. The same audit gives the same bytes.
    """
    return write_page(folder / "audit.html", "audit.html.j2", page_content(audit))


def page_content(audit: Audit) -> dict[str, Any]:
    """Everything the template shows, by name."""
    facts = audit.facts
    colours = figures.label_colours(facts["labels"])
    counts = facts["counts"]
    by_label = [
        figures.Slice(label, sum(part[label] for part in counts.values()), colours[label]) for label in facts["labels"]
    ]
    by_split = [
        figures.Slice(name, sum(part.values()), figures.SPLIT_COLOURS.get(name, "#8a7a00"))
        for name, part in counts.items()
    ]
    return {
        "name": Path(facts["data"]).name,
        "facts": facts,
        "groups": [(together, evidence_of(audit, together)) for together in grouped(facts["findings"])],
        "overview": _overview(facts["findings"]),
        "people": of_patients(facts),
        "summary": summary(facts["findings"]),
        "colours": colours,
        "bars": figures.class_bars(counts, colours, "fig-1-1"),
        "labels_pie": figures.pie(by_label, "fig-1-2", "Pie chart of the images by label"),
        "splits_pie": figures.pie(by_split, "fig-1-3", "Pie chart of the images by split") if len(counts) > 1 else None,
        "dots": shortcut_dots(facts["shortcuts"], colours, "fig-2") if facts["shortcuts"] else None,
        "pairs": _pairs(audit),
        "n_pairs": len(audit.duplicates.pairs),
        "kinds": KINDS,
        "many": len(facts["labels"]) > figures.FEW,
    }


def _overview(findings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How many findings of each severity every check has, and the element of its first one."""
    rows = []
    places = [(f"finding-{number}", together) for number, together in enumerate(grouped(findings), start=1)]
    for check in MISLEADS:
        mine = [(place, finding) for place, together in places for finding in together if finding["check"] == check]
        if mine:
            counts = {severity: sum(finding["severity"] == severity for _, finding in mine) for severity in ORDER}
            rows.append({"check": check, "first": mine[0][0], "counts": counts})
    return rows


def _pairs(audit: Audit) -> list[dict[str, Any]]:
    """The worst pairs, the file to keep before its copy: across splits and labels first."""
    rows = audit.survey.table.rows

    def apart(pair: Pair) -> tuple[bool, bool]:
        one, other = rows[pair.first], rows[pair.second]
        return bool(one.split and other.split) and one.split != other.split, one.label != other.label

    def picture(position: int) -> PictureOf:
        row = audit.survey.table.rows[position]
        return PictureOf(row.path, row.label, row.split, picture_uri(audit.survey.table.file(row)))

    def badness(pair: Pair) -> tuple[bool, bool, float]:
        splits, labels = apart(pair)
        return not splits, not labels, -pair.correlation

    of_group: Counter[int] = Counter()  # one of each group before the second of any
    place: dict[Pair, int] = {}
    for pair in sorted(audit.duplicates.pairs, key=badness):
        place[pair] = of_group[pair.first]
        of_group[pair.first] += 1
    worst = sorted(place, key=lambda pair: (*badness(pair)[:2], place[pair], -pair.correlation))
    return [
        {
            "kind": KINDS[pair.kind],
            "correlation": pair.correlation,
            "images": [picture(pair.first), picture(pair.second)],
            "splits": apart(pair)[0],
            "labels": apart(pair)[1],
        }
        for pair in worst[:MOST_PAIRS]
    ]
