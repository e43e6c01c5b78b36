"""What was published about the dataset that the files were recognised as by their layout."""

from __future__ import annotations

from collections.abc import Sequence

from hilum.auditing.checks.public_sets import Match
from hilum.auditing.checks.public_sets import findings as public_set_findings
from hilum.auditing.checks.sources import findings as source_findings
from hilum.auditing.findings import Finding, FindingEvidence
from hilum.data.catalogue.entries import catalogue
from hilum.data.dataset import Dataset


class PublishedProblem(FindingEvidence):
    """A dataset of the catalogue, and where its problem is described."""

    dataset: str
    source: str


class CatalogueCitation(FindingEvidence):
    """A dataset of the catalogue, with its licence and publication."""

    dataset: str
    licence: str
    citation: str


def findings(table: Dataset, matches: Sequence[Match]) -> list[Finding]:
    """Cite the dataset, and say its published problems.

    Problems that are errors are findings of their own, unless the images themselves have shown an error of that kind.

    Args:
        table: As it was read.
        matches: Public sets that its images were recognised as.
    """
    if not table.layout:
        return []
    entry = catalogue()[table.layout]
    measured = [*public_set_findings(matches), *source_findings(table, matches)]
    seen = any(finding.severity == "error" for finding in measured)
    more = f"hilum datasets {entry.key} says more."
    problems = entry.problems_as_read(table.options)
    found = [
        Finding(
            "provenance",
            "error",
            f"{entry.name}: {problem.text}",
            f"See {problem.source}; {more}",
            PublishedProblem(dataset=entry.name, source=problem.source),
        )
        for problem in problems
        if problem.severity == "error" and not seen
    ]
    others = [problem.text for problem in problems if problem.severity != "error"]
    message = f"Read as {entry.name}."
    cited = CatalogueCitation(dataset=entry.name, licence=entry.licence, citation=entry.citation)
    remedy = f"Cite {entry.citation}. Licence: {entry.licence}. {more}"
    return [*found, Finding("provenance", "info", " ".join([message, *others]), remedy, cited)]
