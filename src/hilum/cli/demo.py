"""The whole way in one call, on phantoms where no data are given."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from hilum.auditing.audit import PAGE_FILE, Audit, audit, write_audit
from hilum.auditing.checks.shortcuts import ProbedLabels
from hilum.auditing.findings import Finding
from hilum.auditing.probe_features import LETTERS
from hilum.data.options import ReadOptions
from hilum.data.readers.read import read_table
from hilum.errors import RunError
from hilum.evaluation.evaluate import Evaluation, evaluate
from hilum.evaluation.evaluate_findings import FindingsEvaluated
from hilum.evaluation.ledger import FILE as LEDGER
from hilum.progress import Progress
from hilum.report.audit_page import write_audit_page
from hilum.report.run_page import write_report
from hilum.training.lock import contents, occupied
from hilum.training.recipe import load_recipe
from hilum.training.run import Run
from hilum.training.train import train

MARK = ".hilum-demo"  # only a folder that holds this file is ever replaced
MADE = ("run", "phantoms", "injected", "planted-audit", "audit")
PATIENTS = 800
PLANTED, PLANTED_PATIENTS = "marker:infected/covid", 170
PLANTED_IN_WORDS = "a letter in a corner of 95 % of the images of 'infected/covid'"


@dataclass(frozen=True)
class Demo:
    """What a demo leaves behind.

    Attributes:
        audit: Of the data; its page is ``audit/audit.html``.
        injected: What the audit says of other phantoms in which a defect was injected; None where data were given.
        run: The training.
        evaluation: On test.
        report: The run's page.
    """

    audit: Audit
    injected: Finding | None
    run: Run
    evaluation: Evaluation | FindingsEvaluated
    report: Path


def run_demo(
    data: Path | None, out: Path, *, seed: int = 0, read: ReadOptions | None = None, progress: Progress | None = None
) -> Demo:
    """Audit, train, evaluate on test, and report.

    Interrupted, the same call begins anew, with the same result.

    Args:
        data: A dataset; phantoms are made when it is None.
        out: Where phantoms and run are put; an earlier demo there is replaced.
        seed: Of phantoms and training.
        read: How to read `data`.
        progress: Receives the progress of every step.

    Raises:
        RunError: `out` holds something that no demo has put there.
        HilumError: Whatever the stages raise.
    """
    progress = progress or Progress()
    if data is not None:
        read_table(data, read)  # before an earlier demo is thrown away
    with occupied(out, "demo", lambda: _check_place(out, data)):
        return _run_demo(data, out, seed, read, progress)


def _run_demo(data: Path | None, out: Path, seed: int, read: ReadOptions | None, progress: Progress) -> Demo:
    _make_room(out)
    recipe = load_recipe("phantoms" if data is None else "compact", [f"training.seed={seed}"])
    injected, ledger = None, None
    if data is None:
        from hilum.phantoms import write_phantoms

        data, ledger = out / "phantoms", out / LEDGER  # simulated patients do not belong among real ones
        write_phantoms(data, patients=PATIENTS, seed=seed, progress=progress)
        injected = _planted(out / "injected", out / "planted-audit", seed, progress)
    found = _audit(data, out / "audit", progress, read)
    run = train(data, out / "run", recipe, read=read, progress=progress)
    evaluation = evaluate(run, ledger=ledger, progress=progress)
    return Demo(found, injected, run, evaluation, write_report(run.path))


def _audit(data: Path, out: Path, progress: Progress, read: ReadOptions | None = None) -> Audit:
    found = audit(data, read=read, progress=progress)
    write_audit(found, out)
    write_audit_page(out / PAGE_FILE, found)
    return found


def _planted(data: Path, out: Path, seed: int, progress: Progress) -> Finding:
    """Plant a defect in a few other phantoms, and return what the audit says first about it.

    The phantoms that are trained on stay clean: a injected defect would be learnt, and the demo's accuracy a lie.
    """
    from hilum.phantoms import Defect, write_phantoms

    write_phantoms(
        data,
        patients=PLANTED_PATIENTS,
        seed=seed + 1,
        size=96,
        defects=[Defect.parse(PLANTED)],
        masks=False,
        progress=progress,
    )
    found = _audit(data, out, progress)
    for finding in found.findings:
        if isinstance(finding.evidence, ProbedLabels) and finding.evidence.probe == LETTERS:
            return finding
    return found.findings[0]


def _check_place(out: Path, data: Path | None) -> None:
    """Find what is in the way of a demo: its own data, or what somebody else has put there."""
    if data and any(data.resolve().is_relative_to((out / name).resolve()) for name in MADE):
        msg = f"{out}: contains the data ({data}), which a demo would replace. Choose another --out."
        raise RunError(msg, code="holds-data", path=out)
    if not (out / MARK).exists() and contents(out):
        msg = f"{out}: is not empty and is not an earlier demo. Choose another --out."
        raise RunError(msg, code="not-empty", path=out)


def _make_room(out: Path) -> None:
    """Take away what an earlier demo made, and nothing else."""
    try:
        (out / MARK).touch()
        for name in MADE:
            if (out / name).exists():
                shutil.rmtree(out / name)
    except OSError as error:
        msg = f"{out}: cannot be used ({error.strerror}). Choose another --out."
        raise RunError(msg, code="unusable", path=out) from error
