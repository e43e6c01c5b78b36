"""The commands that say what a run is worth; they are part of `hilum.cli.app`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.cli.arguments import print_json, print_result, reads_data, say, show
from hilum.data.options import ReadOptions
from hilum.errors import UsageError
from hilum.extras import explaining
from hilum.signatures import refuse_ignored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hilum.evaluation.evaluate import Evaluation
    from hilum.evaluation.evaluate_findings import FindingsEvaluated
    from hilum.evaluation.findings_schema import FindingsMetrics
    from hilum.evaluation.schema import Metrics
    from hilum.training.run import Run

MapOption = Annotated[
    list[str] | None,
    typer.Option(
        "--map-label", metavar="SRC=DST", help="Map a label of DATA to a label of the run; SRC= excludes its images."
    ),
]
LedgerOption = Annotated[
    Path | None,
    typer.Option(
        "--ledger",
        metavar="FILE",
        help="Ledger file for attempts and accesses, such as a team's; $HILUM_LEDGER or your own by default.",
    ),
]


@reads_data
def evaluate(
    run: Annotated[Path | None, typer.Argument(help="Run folder; with --model, the dataset.")] = None,
    data: Annotated[Path | None, typer.Argument(help="Another dataset with the same labels.")] = None,
    split: Annotated[str | None, typer.Option(help="Part of the data to evaluate, test by default.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to; the run's by default.")] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="Evaluate the predictions of any model: columns label and p:LABEL, or true:FINDING and p:FINDING.",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml|FILE.onnx|NAME",
            help="Evaluate a model file, a pretrained model, or an ONNX network described by a TOML file.",
        ),
    ] = None,
    positive_label: Annotated[
        str | None,
        typer.Option(metavar="LABEL|none", help="Positive label, with --predictions or --model."),
    ] = None,
    mapped: MapOption = None,
    ledger: LedgerOption = None,
    prevalence: Annotated[
        list[float] | None,
        typer.Option(metavar="SHARE", help="Add predictive values and net benefit at this prevalence, e.g. 0.02."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print only metrics.json.")] = False,
    read: ReadOptions | None = None,
) -> None:
    """Measure how good a run is, with intervals; or the predictions of any other model."""
    if run is None or predictions or model:
        mapping = mapped or []
        refuse_ignored("with --predictions or --model, which write to no ledger", {"--ledger": ledger})
        _evaluate_external(
            run, data, predictions, model, split, out, positive_label, mapping, prevalence or (), as_json, read
        )
        return
    refuse_ignored("with a run, whose recipe names it", {"--positive-label": positive_label})
    if data is None:
        refuse_ignored("without DATA: a run's own data are read as for its training", read.stated() if read else {})
    with explaining("hilum evaluate RUN"):
        from hilum.evaluation.accesses import access_sentence, joint_sentence
        from hilum.evaluation.cohort import parse_map
        from hilum.evaluation.evaluate import evaluate as run_evaluation
        from hilum.progress import progress_for_terminal
        from hilum.training.allocation import return_memory
        from hilum.training.run import open_run

    return_memory()
    result: Evaluation | FindingsEvaluated = run_evaluation(
        open_run(run),
        data,
        split=split or "test",
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


def _evaluate_external(
    dataset: Path | None,
    more: Path | None,
    predictions: Path | None,
    model: Path | None,
    split: str | None,
    out: Path | None,
    positive_label: str | None,
    mapped: list[str],
    prevalences: Sequence[float],
    as_json: bool,
    read: ReadOptions | None,
) -> None:
    """Evaluate what hilum did not train: a table of predictions, or a described network on a dataset."""
    if (predictions is None) == (model is None) or more or bool(dataset) != bool(model):
        msg = "give a run, or --predictions FILE.csv alone, or --model FILE.toml with a dataset."
        raise UsageError(msg, code="run-or-predictions")
    from hilum.evaluation.external_findings import ExternalFindings
    from hilum.evaluation.external_predictions import (
        check_asked,
        measure_external,
        measure_external_findings,
        read_external,
        write_external,
    )
    from hilum.report.evaluation_page import FILE, write_evaluation_page
    from hilum.report.findings_page import write_findings_page

    folder = out or Path("hilum-evaluation")
    check_asked(folder, prevalences)
    if predictions:
        unused = {"--split": split, "--map-label": mapped} | (read.stated() if read else {})
        refuse_ignored("with --predictions, a table of images and labels that is evaluated whole", unused)
        given = read_external(predictions)
    else:
        from hilum.data.readers.read import read_table
        from hilum.evaluation.cohort import parse_map
        from hilum.evaluation.external_model import predict_by
        from hilum.progress import progress_for_terminal

        assert model
        assert dataset
        progress = progress_for_terminal()
        table = read_table(dataset, read, progress)
        given = predict_by(model, table, split=split or "test", mapping=parse_map(mapped), progress=progress)
    metrics: Metrics | FindingsMetrics
    if isinstance(given, ExternalFindings):
        metrics = measure_external_findings(given, positive_label=positive_label, prevalences=prevalences)
        metrics = write_external(given, metrics, folder)
        page = write_findings_page(folder / FILE, metrics, given.predictions)
    else:
        metrics = measure_external(given, positive_label=positive_label, prevalences=prevalences)
        metrics = write_external(given, metrics, folder)
        page = write_evaluation_page(folder / FILE, metrics, given.predictions)
    if as_json:
        print_json(metrics.to_json())
        return
    print_metrics(metrics)
    for note in [] if isinstance(given, ExternalFindings) else metrics.data.notes:  # a table of findings has them
        say(f"note: {note}")
    say(f"written: {folder}")
    say(f"report: {page}")


@reads_data
def certify(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[
        Path | None, typer.Argument(help="Dataset of patients unseen by the run, to certify it for their site.")
    ] = None,
    sensitivity: Annotated[float, typer.Option(help="Guarantee at least this sensitivity.")] = 0.95,
    confidence: Annotated[float, typer.Option(help="Confidence level of the guarantee, in (0, 1).")] = 0.95,
    specificity: Annotated[
        float | None,
        typer.Option(help="Certify an upper threshold for flagging, at this specificity, e.g. 0.95."),
    ] = None,
    ppv: Annotated[
        float | None,
        typer.Option(help="Certify the upper threshold at this positive predictive value instead, e.g. 0.5."),
    ] = None,
    prevalence: Annotated[
        float | None, typer.Option(help="Prevalence at which --ppv is guaranteed, e.g. 0.05.")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="LABEL|FOLDER/*", help="Group to rule out, or findings; the positive label by default."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Split to certify on; calibration by default, or all images without splits.")
    ] = None,
    mapped: MapOption = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="File to write; in the run by default.")] = None,
    attempts: Annotated[
        int | None,
        typer.Option(
            metavar="M",
            help="Plan M attempts that share the error probability, before the first.",
        ),
    ] = None,
    ledger: LedgerOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print only certificate.json.")] = False,
    read: ReadOptions | None = None,
) -> None:
    """Guarantee a sensitivity on patients that the run never saw, or say how many are missing."""
    from hilum.evaluation.certificate import UpperSide
    from hilum.evaluation.certify import certify as run_certification
    from hilum.evaluation.cohort import parse_map
    from hilum.progress import progress_for_terminal
    from hilum.report.certificate_text import certificate_lines
    from hilum.training.run import open_run

    opened = open_run(run)
    if data is None:
        unused = {"--map-label": mapped} | (read.stated() if read else {})
        refuse_ignored("without DATA: a run's own data are read as for its training", unused)
    if opened.findings:
        _certify_findings(
            opened,
            data,
            false_negative_rate=round(1 - sensitivity, 12),
            confidence=confidence,
            upper=UpperSide.asked(specificity, ppv, prevalence, ["*"]),
            findings=[name.strip() for name in group.split(",")] if group else [],
            split=split or "calibration",
            mapping=parse_map(mapped or []),
            read=read,
            out=out,
            attempts=attempts,
            ledger=ledger,
            as_json=as_json,
        )
        return
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
        say(f"next: hilum evaluate {run}   (checks it on the test patients)")


def _certify_findings(run: Run, data: Path | None, *, as_json: bool, **asked: Any) -> None:
    """Certify several findings together, and show them."""
    from hilum.evaluation.certify_findings import certify_findings
    from hilum.progress import progress_for_terminal
    from hilum.report.findings_console import certificates_table

    done = certify_findings(run, data, **asked, progress=progress_for_terminal())
    if as_json:
        print_json(done.certificate.as_json())
        return
    show(certificates_table(done.certificate))
    say(f"written: {done.file}")
    if data is None:
        say(f"next: hilum evaluate {run.path}   (checks it on the test patients)")


def ledger(
    run: Annotated[Path | None, typer.Argument(help="Show only entries about this run's images.")] = None,
    file: LedgerOption = None,
) -> None:
    """Show attempts to certify and accesses to test images, and what is left for further certificates."""
    from hilum.evaluation.ledger import image_set, ledger_file, read_ledger
    from hilum.report.certificate_text import ledger_lines
    from hilum.training.run import open_run

    images = image_set(row.sha256 for row in open_run(run).rows if row.sha256) if run else None
    show(ledger_lines(read_ledger(ledger_file(file)), images))


def print_metrics(metrics: Metrics | FindingsMetrics) -> None:
    """Print an evaluation on the terminal."""
    from hilum.evaluation.findings_schema import FindingsMetrics
    from hilum.report.evaluation_console import result_table
    from hilum.report.findings_console import findings_table

    show(findings_table(metrics) if isinstance(metrics, FindingsMetrics) else result_table(metrics))


def compare(
    first: Annotated[Path, typer.Argument(help="A run folder.")],
    second: Annotated[Path, typer.Argument(help="Another run or table; differences are second minus first.")],
    split: Annotated[str | None, typer.Option(help="Split of both runs, test by default.")] = None,
    split_b: Annotated[str | None, typer.Option(help="Name of this split in the second run, if different.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write to; the second run by default.")] = None,
    also_first: Annotated[
        list[Path] | None, typer.Option(metavar="RUN", help="Add another seed of the first run; may be repeated.")
    ] = None,
    also_second: Annotated[
        list[Path] | None, typer.Option(metavar="RUN", help="Add another seed of the second run, in the same order.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print only comparison.json.")] = False,
) -> None:
    """Compare two runs, or two tables of predictions, on the same patients, and say what could have been seen."""
    from hilum.evaluation.comparison import PAGE_FILE
    from hilum.evaluation.comparison import compare as run_comparison
    from hilum.progress import progress_for_terminal
    from hilum.report.comparison_page import write_comparison_page
    from hilum.report.comparison_text import comparison_table
    from hilum.training.run import open_run

    if first.is_file() and second.is_file():
        of_runs = {"--split": split, "--split-b": split_b, "--also-first": also_first, "--also-second": also_second}
        refuse_ignored("with predictions, which are compared whole", of_runs)
        _compare_tables(first, second, out or Path("hilum-comparison"), as_json=as_json)
        return
    if first.is_file() or second.is_file():
        from hilum.evaluation.external_predictions import two_kinds

        raise two_kinds(*((first.name, second) if first.is_file() else (second.name, first)))
    seeds = [list(map(open_run, [one, *(more or [])])) for one, more in ((first, also_first), (second, also_second))]
    if len(seeds[0]) != len(seeds[1]):
        msg = f"{len(seeds[0])} runs of the first method and {len(seeds[1])} of the second: give as many of each."
        raise UsageError(msg)
    runs, *more = zip(*seeds, strict=True)
    if any(run.findings for pair in (runs, *more) for run in pair):
        from hilum.evaluation.findings_comparison import compare_findings
        from hilum.report.compared_findings import findings_comparison_table, write_findings_comparison_page

        several = compare_findings(
            *runs,
            split=split or "test",
            second_split=split_b,
            out=out,
            more_seeds=more,
            progress=progress_for_terminal(),
        )
        page = write_findings_comparison_page(several.folder / PAGE_FILE, several.comparison)
        print_result(several.comparison, findings_comparison_table(several.comparison), page, as_json=as_json)
        return
    result = run_comparison(
        *runs, split=split or "test", second_split=split_b, out=out, more_seeds=more, progress=progress_for_terminal()
    )
    page = write_comparison_page(result.folder / PAGE_FILE, result.comparison)
    print_result(result.comparison, comparison_table(result.comparison), page, as_json=as_json)


def _compare_tables(first: Path, second: Path, folder: Path, *, as_json: bool) -> None:
    """Compare two tables of predictions, of labels or of several findings."""
    from hilum.evaluation.comparison import PAGE_FILE, compare_external, write_comparison
    from hilum.evaluation.external_findings import ExternalFindings
    from hilum.evaluation.external_predictions import of_one_kind, read_external
    from hilum.evaluation.findings_comparison import compare_external_findings
    from hilum.report.compared_findings import findings_comparison_table, write_findings_comparison_page
    from hilum.report.comparison_page import write_comparison_page
    from hilum.report.comparison_text import comparison_table

    given = of_one_kind(read_external(first), read_external(second))
    if isinstance(given[0], ExternalFindings):
        several = compare_external_findings(*given)
        write_comparison(several, folder)
        page = write_findings_comparison_page(folder / PAGE_FILE, several)
        print_result(several, findings_comparison_table(several), page, as_json=as_json)
        return
    found = compare_external(*given)
    write_comparison(found, folder)
    print_result(found, comparison_table(found), write_comparison_page(folder / PAGE_FILE, found), as_json=as_json)
