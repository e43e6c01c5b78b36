"""What a reader, and a browser, find on a page."""

import re
from collections import Counter
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "wbr", "link", "input", "hr"}
LOADS = {"src", "href", "xlink:href", "srcset", "data", "poster", "action"}


class Page(HTMLParser):
    """What a reader sees, and what a browser would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.ids: Counter[str] = Counter()
        self.tags: Counter[str] = Counter()
        self.alternatives: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attributes:
            if name in LOADS:
                self.loads.append(value or "")
            if name == "id":
                self.ids[value or ""] += 1
        if tag in ("svg", "img"):
            self.alternatives.append(dict(attributes).get("aria-label" if tag == "svg" else "alt") or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words)).replace("/ ", "/")

    @property
    def lines(self) -> str:
        """The text, a sentence a line."""
        return "\n".join(re.split(r"(?<=[.:;]) ", self.text))

    def said_beside(self, other: "Page") -> str:
        """The sentences that another page does not have."""
        known = set(other.lines.split("\n"))
        return "\n".join(line for line in self.lines.split("\n") if line not in known)


def table_after(html: str, marker: str) -> list[list[str]]:
    """The cells of the first table after a marker, tags removed."""
    table = re.search(r"<table.*?</table>", html[html.index(marker) :], re.DOTALL)
    assert table is not None
    rows = re.findall(r"<tr.*?</tr>", table[0], re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    shown = [[re.sub(r"<small>.*?</small>|<[^>]+>", "", cell) for cell in row] for row in cells]
    return [[re.sub(r"\s+", " ", cell).strip() for cell in row] for row in shown]  # a unit stays beside its number


def assert_self_contained(html: str) -> Page:
    """Nothing is loaded, nothing runs, ids are unique, every figure has words, links lead nowhere else."""
    page = Page(html)
    assert page.open == []
    assert "default-src 'none'" in html
    assert page.tags["script"] == page.tags["link"] == page.tags["iframe"] == page.tags["img"] == 0
    assert not re.search(r"@import|url\((?!#)", html)
    assert not [load for load in page.loads if load.startswith("/") or ":" in load]
    assert {load[1:] for load in page.loads if load.startswith("#")} <= set(page.ids)
    assert [name for name, count in page.ids.items() if count > 1] == []
    assert all(page.alternatives)
    assert "Research and teaching only; not for diagnosis." in page.text
    return page
