"""Draw how the packages of hilum import each other: ``python studies/architecture_picture.py``.

Reads the import statements of every module in ``src/hilum`` and writes ``docs/images/architecture.svg``. An arrow leads
from a package to one that it imports. Arrows that follow from others are left out (transitive reduction). The row of a
package is the length of its longest path of imports. ``tests/test_architecture.py`` finds a picture that is no longer
true; a new module in a known package does not change it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "hilum"
PICTURE = ROOT / "docs/images/architecture.svg"
FOUNDATION = "foundation"
PYTORCH = frozenset({"torch", "lightning"})
# By package its column and what it holds. All that is not said here is read from the imports.
BOXES = {
    "api": (3, "what import hilum offers"),
    "cli": (2, "the commands"),
    "exporting": (2, "from a run to a model file"),
    "report": (2, "pages, console, figures"),
    "evaluation": (2, "metrics, certificate"),
    "training": (2, "from a recipe to a run"),
    "auditing": (2, "checks of a dataset"),
    "stats": (2, "metrics and their intervals"),
    "data": (2, "readers, images, splits, cache"),
    "phantoms": (0, "simulated radiographs"),
    "models": (1, "networks by name"),
    "decision": (3, "flag, clear or abstain; OOD"),
    "archives": (4, "answers for archives"),
    "serving": (4, "predictions from a model file"),
    FOUNDATION: (2, ""),
}
COLUMN, ROW, WIDE, TALL, BAR, TOP, PORT = 196, 90, 178, 48, 980, 48, 30
LEGEND = ("A → B: A imports B. Arrows that follow from others are left out.", "imports PyTorch itself", "does not")
INK, LINE, MUTED = "#12303f", "#5b6b7b", "#455a64"
WITH, WITHOUT = ('fill="#fdeedd" stroke="#b4611c"', 'fill="#eaf2f8" stroke="#2b6a99"')


def package_of(parts: tuple[str, ...]) -> str:
    """The package of a module; single modules below all packages are one box."""
    if parts[1:] and (SOURCE / parts[1]).is_dir():
        return parts[1]
    return {"__init__": "api", "__main__": "cli", "sklearn": "api"}.get(parts[-1], FOUNDATION)


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    """Each module that a file imports, taken apart at its dots, wherever the statement stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield tuple(node.module.split("."))


def imports() -> tuple[dict[str, set[str]], set[str]]:
    """For each package those that its modules import, and the packages that import PyTorch."""
    found: dict[str, set[str]] = {}
    torch = set()
    for path in sorted(SOURCE.rglob("*.py")):
        here = package_of(path.relative_to(SOURCE.parent).with_suffix("").parts)
        reached = found.setdefault(here, set())
        for parts in imported(path):
            if parts[0] == "hilum":
                reached.add(package_of(parts))
            elif parts[0] in PYTORCH:
                torch.add(here)
        reached.discard(here)
    drawn = set().union(*found.values()) | {name for name, reached in found.items() if reached}
    return {name: found[name] for name in drawn}, torch  # a package that only holds files is not drawn


def rows(graph: dict[str, set[str]]) -> dict[str, int]:
    """How high each package stands: one above the highest that it imports; all packages above the foundation."""
    found: dict[str, int] = {FOUNDATION: 0}

    def row(package: str) -> int:
        if package not in found:
            found[package] = 1 + max((row(other) for other in graph[package]), default=0)
        return found[package]

    for package in sorted(graph):
        row(package)
    return found


def reduced(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Edges that do not follow from others."""

    def reach(package: str) -> set[str]:
        return graph[package].union(*(reach(other) for other in graph[package]))

    return [
        (here, there)
        for here in sorted(graph)
        for there in sorted(graph[here])
        if not any(there in reach(other) for other in graph[here] - {there})
    ]


def draw() -> str:
    """The picture as SVG.

    Raises:
        KeyError: A package is new, and `BOXES` does not say where it is drawn.
    """
    graph, torch = imports()
    height = rows(graph)
    top = max(height.values())
    wide, tall = 5 * COLUMN + 24, TOP + (top + 1) * ROW
    place = {
        name: (12 + COLUMN * (BOXES[name][0] + 0.5), TOP + (top - height[name] + 0.5) * ROW) for name in sorted(graph)
    }
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {tall}" width="{wide}" height="{tall}" '
        'font-family="Helvetica, Arial, sans-serif" role="img" aria-label="Packages of hilum and what they import">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{LINE}"/></marker></defs>',
        f'<rect width="{wide}" height="{tall}" fill="#ffffff"/>',
        *_legend(wide),
        *_arrows(reduced(graph), place),
        *(_box(name, place[name], WITH if name in torch else WITHOUT) for name in place),
    ]
    return "\n".join([*parts, "</svg>", ""])


def _text(x: float, y: float, words: str, size: int = 12, colour: str = MUTED, more: str = "") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{colour}"{more}>{escape(words)}</text>'


def _legend(wide: int) -> Iterator[str]:
    yield _text(16, 30, LEGEND[0], 13)
    for number, (words, style) in enumerate(zip(LEGEND[1:], (WITH, WITHOUT), strict=True)):
        x = wide - 300 + 190 * number
        yield f'<rect x="{x}" y="18" width="22" height="16" rx="4" {style}/>' + _text(x + 28, 30, words, 13)


def _arrows(edges: Sequence[tuple[str, str]], place: Mapping[str, tuple[float, float]]) -> Iterator[str]:
    """Lines from lower edges to upper edges; those that end or begin at one box do so side by side."""
    for here, there in edges:
        (x1, y1), (x2, y2) = place[here], place[there]
        if x1 == x2:
            yield _line(f"M{x1:.0f} {y1 + TALL / 2:.0f}V{y2 - TALL / 2:.0f}")
            continue
        side = 1 if x2 > x1 else -1
        leaving = sorted(abs(place[to][0] - x1) for of, to in edges if of == here and (place[to][0] - x1) * side > 0)
        coming = sorted(abs(place[of][0] - x2) for of, to in edges if to == there and (x2 - place[of][0]) * side > 0)
        x1 += side * PORT * (1 + leaving.index(abs(x2 - x1)))
        x2 -= side * PORT * (1 + coming.index(abs(x2 - place[here][0])))
        y1, y2 = y1 + TALL / 2, y2 - TALL / 2
        low = y1 + ROW - TALL - 9  # the tip stands upright
        yield _line(f"M{x1:.0f} {y1:.0f}C{x1:.0f} {low:.0f} {x2:.0f} {y1:.0f} {x2:.0f} {low:.0f}V{y2:.0f}")


def _line(path: str) -> str:
    return f'<path d="{path}" fill="none" stroke="{LINE}" stroke-width="1.6" marker-end="url(#tip)"/>'


def _box(name: str, middle: tuple[float, float], style: str) -> str:
    x, y = middle
    words, wide = BOXES[name][1], WIDE
    if name == FOUNDATION:
        single = (path.stem for path in SOURCE.glob("[!_]*.py"))
        modules = sorted(name for name in single if package_of(("hilum", name)) == FOUNDATION)
        name, words, wide = " · ".join(modules), "single modules, below all packages", BAR
    anchor = ' text-anchor="middle"'
    return (
        f'<g><rect x="{x - wide / 2:.0f}" y="{y - TALL / 2:.0f}" width="{wide}" height="{TALL}" rx="8" {style}/>'
        + _text(x, y - 2, name, 16, INK, f'{anchor} font-weight="600"')
        + _text(x, y + 15, words, 12, MUTED, anchor)
        + "</g>"
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
