"""What MkDocs does besides: pages from the code, pages from files beside ``docs``, and links between all of these."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import generated_pages  # MkDocs lets a hook import modules beside it

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = "benchmarks/results"
# Files of the repository that are pages of the site, too.
BESIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "project/changelog.md",
    "CODE_OF_CONDUCT.md": "project/code-of-conduct.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "RELEASING.md": "project/releasing.md",
    "SECURITY.md": "project/security-policy.md",
    "LICENSE": "project/LICENSE",
    "CITATION.cff": "project/CITATION.cff",
}
PLACES = {"recipe-keys": generated_pages.recipe_keys, "schemas": generated_pages.files}
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")


def beside() -> dict[str, str]:
    """Places in the site, by the paths of files that lie beside ``docs``."""
    measured = sorted((ROOT / BENCHMARKS).glob("*.md"))
    return BESIDE | {f"{BENCHMARKS}/{path.name}": f"benchmarks/{path.name}" for path in measured}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that have no file below ``docs``."""
    made = {
        "reference/command-line.md": generated_pages.command_line(),
        "reference/datasets.md": generated_pages.datasets(),
        "reference/modules.md": generated_pages.modules(),
    }
    for path in sorted((ROOT / "docs").rglob("*.ipynb")):
        place = path.relative_to(ROOT / "docs").with_suffix(".md").as_posix()
        made[place] = generated_pages.notebook(path)
    for source, place in beside().items():
        made[place] = (ROOT / source).read_text(encoding="utf-8")
    for place, content in made.items():
        files.append(File.generated(config, place, content=content))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in what is generated, and lead links to where their targets lie in the site."""
    del config, files
    for name, make in PLACES.items():
        if f"<!-- {name} -->" in markdown:
            markdown = markdown.replace(f"<!-- {name} -->", make())
    return with_site_links(markdown, page.file.src_uri)


def on_post_build(*, config: MkDocsConfig) -> None:
    """List the links to other hosts in ``external-links.txt``: nothing fetches them, a reader may."""
    found = set()
    for path in [*(ROOT / "docs").rglob("*.md"), *(ROOT / source for source in beside() if source.endswith(".md"))]:
        found |= set(re.findall(r"https?://[^\s)>\"'`]+", path.read_text(encoding="utf-8")))
    (Path(config.site_dir) / "external-links.txt").write_text("\n".join([*sorted(found), ""]), encoding="utf-8")


def with_site_links(markdown: str, place: str) -> str:
    """Links as they are in the repository, turned into links within the site.

    Args:
        markdown: A page.
        place: Where it lies in the site, such as ``index.md``.
    """
    source = next((file for file, there in beside().items() if there == place), f"docs/{place}")

    def led(found: re.Match[str]) -> str:
        target = found[2]
        if re.match(r"[a-z]+:", target):
            return found[0]
        there = site_place(posixpath.normpath(posixpath.join(posixpath.dirname(source), target)))
        anchor = found[3] or ""
        return f"{found[1]}{posixpath.relpath(there, posixpath.dirname(place) or '.')}{anchor}{found[4]}"

    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.M | re.S)  # code stays as it is
    return "".join(part if part.startswith("```") else LINK.sub(led, part) for part in parts)


def site_place(path: str) -> str:
    """The place in the site of a file of the repository; MkDocs complains of one that has none."""
    if path.endswith(".ipynb"):
        path = path.removesuffix("ipynb") + "md"
    return beside().get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else path)
