"""`hilum.audit`: what is wrong with a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hilum.api.datasets import Data, table_of
from hilum.api.printed import Reported, Writable
from hilum.api.python_wording import public, told
from hilum.auditing.audit import Audit as Audited
from hilum.auditing.audit import audit as run_audit
from hilum.auditing.findings import AuditReport, Finding, dataset_key, remember

if TYPE_CHECKING:
    from rich.console import RenderableType


class Audit(Reported):
    """What an audit found.

    Attributes:
        report: Everything that ``audit.json`` holds, typed.
    """

    def __init__(self, audited: Audited) -> None:
        self._audited = audited
        self.report: AuditReport = audited.report

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The findings, the worst first."""
        return tuple(self.report.findings)

    @public
    def passed(self, gate: Literal["error", "warning"] = "error") -> bool:
        """Whether nothing was found that is as bad as `gate`, or worse."""
        return self.report.passed(gate)

    def _document(self) -> Writable:
        return self.report

    def _write_page(self, file: Path) -> Path:
        from hilum.report.audit_page import write_audit_page

        return write_audit_page(file, self._audited)

    def _table(self) -> RenderableType:
        from hilum.report.audit_console import audit_lines

        return audit_lines(self.report)

    def __repr__(self) -> str:
        counts = {name: sum(f.severity == name for f in self.findings) for name in ("error", "warning", "info")}
        return f"<hilum.Audit of {self.report.data}: " + ", ".join(f"{n} {name}" for name, n in counts.items()) + ">"


@public
def audit(data: Data, *, progress: bool = True) -> Audit:
    """Find what is wrong with a dataset. Nothing is trained, and nothing is changed.

    Args:
        data: Folder, CSV table, data frame of pandas or polars, or `Dataset`; or a list of them, which are joined.
        progress: Whether long work shows its progress on standard error.

    Returns:
        The findings with their evidence, the worst first.

    Raises:
        TableError: The data cannot be read at all.
        ExtraError: A file is DICOM, and the extra that reads those is not installed.
    """
    teller = told(progress)
    found = run_audit(table_of(data, teller), progress=teller)
    remember(found.report.to_json(), dataset_key(found.scan.table.rows))  # trainings of these data repeat its errors
    return Audit(found)
