"""The command that lists public datasets, and makes two of them from their downloads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilum.cli.arguments import print_json, say, show
from hilum.errors import UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hilum.data.catalogue.entries import CatalogueEntry


def datasets(
    name: Annotated[str | None, typer.Argument(help="A dataset of the list, to show in full.")] = None,
    rebuild: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="DIR OUT", help="Make kermany (150 pixels, three labels) or darkcovidnet from downloads."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the entries, and nothing else.")] = False,
) -> None:
    """List public datasets of chest radiographs: licence, size, labels, known problems, how to get them."""
    from hilum.data.catalogue.entries import catalogue

    known = catalogue()
    if name is not None and name not in known:
        msg = f"{name}: no dataset of the catalogue. Known are {', '.join(known)}."
        raise UsageError(msg, code="no-such-dataset")
    if rebuild:
        if name is None:
            msg = "--rebuild: name the dataset: hilum datasets kermany --rebuild DIR OUT."
            raise UsageError(msg, code="no-such-recipe")
        _rebuild(name, *rebuild)
        return
    chosen = [known[name]] if name else list(known.values())
    if as_json:
        print_json([entry.model_dump(mode="json") for entry in chosen])
    else:
        show(_in_full(chosen[0]) if name else _listed(chosen))


def _rebuild(name: str, source: Path, out: Path) -> None:
    from hilum.data.catalogue.rebuild import MISSING
    from hilum.data.catalogue.rebuild import rebuild as run_rebuild
    from hilum.progress import progress_for_terminal

    made = run_rebuild(name, source, out, progress_for_terminal())
    say(f"{out}: {made.written:,} images, with their labels, splits and patients in metadata.csv")
    if made.missing:
        say(f"missing: {len(made.missing):,} originals, listed in {out / MISSING}; the first is {made.missing[0]}")
    say(f"next: hilum audit {out}")


def _listed(entries: list[CatalogueEntry]) -> RenderableType:
    from rich.table import Table

    from hilum.text import escape

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "images", "ages", "label origin", "licence"):
        table.add_column(column, justify="right" if column == "images" else "left", overflow="fold")
    for entry in entries:
        images = f"{entry.images:,}" if entry.images else ""
        cells = (entry.key, images, entry.ages, entry.label_origin, entry.licence)
        table.add_row(*map(escape, cells))
    return table


def _in_full(entry: CatalogueEntry) -> RenderableType:
    from rich.table import Table

    from hilum.text import escape

    table = Table(box=None, pad_edge=False, show_header=False, title=escape(entry.name), title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    facts = {
        "publication": entry.citation,
        "licence": entry.licence,
        "year": f"{entry.year}" + (f"; images of {entry.years}" if entry.years else ""),
        "shows": entry.population,
        "images": f"{entry.images:,}" if entry.images else "",
        "patients": f"{entry.patients:,}" if entry.patients else "",
        "size": entry.size,
        "labels": entry.labels,
        "label origin": entry.label_origin,
        "splits": entry.splits,
        "get it": f"{entry.access} {entry.url}",
        "limits": entry.cannot_show,
    }
    facts |= {
        f"problem {number}": f"{problem.severity}: {problem.text} ({problem.source})"
        for number, problem in enumerate(entry.problems, 1)
    }
    for label, value in facts.items():
        if value:
            table.add_row(label, escape(value))
    return table
