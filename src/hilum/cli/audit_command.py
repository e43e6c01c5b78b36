"""The command that audits a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilum.cli.arguments import joins_data, print_json, say, show
from hilum.data.options import ReadOptions
from hilum.errors import GateError, UsageError

if TYPE_CHECKING:
    from hilum.data.dataset import Dataset


@joins_data
def audit(
    data: Path | Dataset,
    out: Annotated[Path, typer.Option(help="Folder for audit.json and audit.html.")] = Path("hilum-audit"),
    run: Annotated[
        Path | None,
        typer.Option("--run", help="Run or, better, cross-validation, to list label issues."),
    ] = None,
    cleaned: Annotated[
        Path | None,
        typer.Option("--clean", metavar="OUT.csv", help="Write a cleaned table and a log of the changes."),
    ] = None,
    gate: Annotated[
        str | None,
        typer.Option("--fail-on", metavar="warning|error", help="Exit with code 3 on a finding of this severity."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print only audit.json.")] = False,
    engine: Annotated[
        str, typer.Option(metavar="local|ray", help="Open files and find copies here, or by a Ray cluster.")
    ] = "local",
    address: Annotated[str, typer.Option(metavar="HOST:PORT|auto", help="Ray cluster; starts one by default.")] = "",
    read: ReadOptions | None = None,
) -> None:
    """Say what is wrong with a dataset, before anyone trains on it."""
    from hilum.auditing.audit import PAGE_FILE, check_audit, write_audit
    from hilum.auditing.audit import audit as run_audit
    from hilum.auditing.clean import check_fixed, fix, write_fixed
    from hilum.progress import progress_for_terminal
    from hilum.report.audit_console import audit_lines
    from hilum.report.audit_page import write_audit_page

    if gate not in (None, "warning", "error"):
        msg = f"--fail-on {gate}: warning or error."
        raise UsageError(msg)
    check_audit(out)
    if cleaned:
        check_fixed(cleaned)
    progress, opinion = progress_for_terminal(), None
    if run:
        from hilum.auditing.checks.label_issues import require_cleanlab
        from hilum.evaluation.inference import opinion_of

        require_cleanlab()
        opinion = opinion_of(run, progress)
    found = run_audit(data, opinion=opinion, read=read, engine=engine, address=address, progress=progress)
    write_audit(found, out)
    page = write_audit_page(out / PAGE_FILE, found)
    if as_json:
        print_json(found.report.to_json())
    else:
        show(audit_lines(found.report))
        say(f"page: {page}")
    if cleaned:
        unreadable = [item.path for item in found.scan.unreadable]
        log = write_fixed(fix(found.scan.table, found.patients.patient, found.group_of(), unreadable), cleaned)
        say(f"cleaned table: {cleaned}; log of the changes: {log}", err=as_json)
        say(f"next: hilum train {cleaned} --out RUN", err=as_json)
    if gate and not found.report.passed("warning" if gate == "warning" else "error"):
        msg = f"{found.report.data}: the audit has findings at or above --fail-on {gate}; see {page}."
        raise GateError(msg)
