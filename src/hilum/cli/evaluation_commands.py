"""The commands that say what a run is worth; they are part of `hilum.cli.app`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hilum.cli.arguments import print_json, reads_data, say, show
from hilum.data.options import ReadOptions

if TYPE_CHECKING:
    from hilum.evaluation.evaluate import Evaluation
    from hilum.evaluation.schema import Metrics

MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map-label", metavar="SRC=DST", help="Map a label of DATA to a label of the run; SRC= leaves its images out."
    ),
]
LedgerOption = Annotated[
    Path | None,
    typer.Option(
        "--ledger",
        metavar="FILE",
        help="Record attempts and accesses in this file, such as a team's, instead of $HILUM_LEDGER or your own.",
    ),
]


@reads_data
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[Path | None, typer.Argument(help="Another dataset with the same labels.")] = None,
    split: Annotated[str, typer.Option(help="Which part of the data.")] = "test",
    out: Annotated[Path | None, typer.Option(help="Where to write, if not into the run.")] = None,
    mapped: MapOption = None,
    ledger: LedgerOption = None,
    prevalence: Annotated[
        list[float] | None,
        typer.Option(metavar="SHARE", help="Say what answers are worth at this prevalence, too, e.g. 0.02."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print metrics.json, and nothing else.")] = False,
    read: ReadOptions | None = None,
) -> None:
    """Measure how good a run is, with intervals."""
    from hilum.evaluation.accesses import access_sentence, joint_sentence
    from hilum.evaluation.cohort import parse_map
    from hilum.evaluation.evaluate import evaluate as run_evaluation
    from hilum.progress import progress_for_terminal
    from hilum.training.loop import return_memory
    from hilum.training.run import open_run

    return_memory()
    result: Evaluation = run_evaluation(
        open_run(run),
        data,
        split=split,
        out=out,
        mapping=parse_map(mapped or []),
        read=read,
        ledger=ledger,
        prevalences=prevalence or (),
        progress=progress_for_terminal(),
    )
    if as_json:
        print_json(result.metrics.to_json())
        return
    print_metrics(result.metrics)
    for sentence in filter(None, (access_sentence(result.access), joint_sentence(result.access))):
        say(sentence)
    say(f"written: {result.folder}")
    say(f"next: hilum report {run}")


@reads_data
def certify(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[
        Path | None, typer.Argument(help="Patients whom the run has not seen, to certify it for their site.")
    ] = None,
    sensitivity: Annotated[float, typer.Option(help="Guarantee at least this sensitivity.")] = 0.95,
    confidence: Annotated[float, typer.Option(help="How sure that has to be.")] = 0.95,
    specificity: Annotated[
        float | None,
        typer.Option(
            help="Certify a second threshold, from which on patients are flagged, at this specificity, e.g. 0.95."
        ),
    ] = None,
    ppv: Annotated[
        float | None,
        typer.Option(help="Certify a second threshold at this positive predictive value instead, e.g. 0.5."),
    ] = None,
    prevalence: Annotated[
        float | None, typer.Option(help="Prevalence at which --ppv is guaranteed, e.g. 0.05.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(metavar="LABEL|FOLDER/*", help="What must not be missed, if not the positive label.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Which part of the data; calibration, or all where there are no splits.")
    ] = None,
    mapped: MapOption = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to write, if not into the run.")] = None,
    attempts: Annotated[
        int | None,
        typer.Option(metavar="M", help="Plan M attempts on these patients, before the first; each gets its share."),
    ] = None,
    ledger: LedgerOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print certificate.json, and nothing else.")] = False,
    read: ReadOptions | None = None,
) -> None:
    """Certify a false-negative rate on patients that the run never saw, or say how many are missing."""
    from hilum.evaluation.certificate import UpperSide
    from hilum.evaluation.certify import certify as run_certification
    from hilum.evaluation.cohort import parse_map
    from hilum.progress import progress_for_terminal
    from hilum.report.certificate_text import certificate_lines
    from hilum.training.run import open_run

    opened = open_run(run)
    done = run_certification(
        opened,
        data,
        false_negative_rate=round(1 - sensitivity, 12),
        confidence=confidence,
        upper=UpperSide.asked(specificity, ppv, prevalence, opened.healthy),
        group=group,
        split=split or "calibration",
        mapping=parse_map(mapped or []),
        read=read,
        out=out,
        attempts=attempts,
        ledger=ledger,
        progress=progress_for_terminal(),
    )
    if as_json:
        print_json(done.certificate.as_json())
        return
    show(certificate_lines(done.certificate))
    say(f"written: {done.file}")
    if data is None:
        say(f"next: hilum evaluate {run}   (how it holds on the test patients)")


def ledger(
    run: Annotated[Path | None, typer.Argument(help="Show only what is about this run's images.")] = None,
    file: LedgerOption = None,
) -> None:
    """Show attempts to certify and accesses to test images, and what is left for further certificates."""
    from hilum.evaluation.ledger import image_set, ledger_file, read_ledger
    from hilum.report.certificate_text import ledger_lines
    from hilum.training.run import open_run

    images = image_set(row.sha256 for row in open_run(run).rows if row.sha256) if run else None
    show(ledger_lines(read_ledger(ledger_file(file)), images))


def print_metrics(metrics: Metrics) -> None:
    """Print an evaluation on the terminal."""
    from hilum.report.evaluation_console import result_table

    show(result_table(metrics))
