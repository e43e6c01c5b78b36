"""The command line: one command a stage; parse, call, print.

Imports of the stages stand inside the commands, so that ``hilum --help`` needs none of them.
"""

from __future__ import annotations

import json
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from hilum import __version__
from hilum.cli import model_commands, predict_command
from hilum.cli.arguments import interrupted, joins_data, message_of, print_result, reads_data, say, show
from hilum.cli.audit_command import audit
from hilum.cli.datasets_commands import datasets
from hilum.cli.device_options import trains_on_devices
from hilum.cli.ensemble_command import ensemble
from hilum.cli.env import env
from hilum.cli.evaluation_commands import certify, compare, evaluate, ledger, print_metrics
from hilum.cli.node_commands import node
from hilum.cli.phantoms_command import phantoms
from hilum.cli.prior_command import prior
from hilum.cli.serve_command import serve
from hilum.cli.training_options import (
    AddressOption,
    CpusOption,
    EncoderLicenceOption,
    EncoderOption,
    EngineOption,
    RecipeOption,
    SetOption,
)
from hilum.data.options import ReadOptions
from hilum.earlier import arguments_of_today
from hilum.errors import UsageError
from hilum.text import on_page
from hilum.training.devices import Devices, check_alone, writes

if TYPE_CHECKING:
    from hilum.data.dataset import Dataset
    from hilum.training.plan import Monitor
    from hilum.training.recipe import Recipe

INTERRUPTED = 130  # what shells expect of a program that Ctrl-C has ended

app = typer.Typer(
    name="hilum",
    help="Train, audit and validate chest X-ray classifiers, with patient-level splits and confidence intervals.",
    epilog="Begin with: hilum demo. For research and teaching; not for diagnosis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"hilum {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    del version


@app.command()
@reads_data
def demo(
    data: Annotated[Path | None, typer.Argument(help="Dataset; phantoms by default.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for all results; replaces an earlier demo.")] = Path("hilum-demo"),
    seed: Annotated[int, typer.Option(help="Random seed of phantoms and training.", min=0)] = 0,
    read: ReadOptions | None = None,
) -> None:
    """The whole way: data, audit, training, evaluation, report."""
    from hilum.cli.demo import PLANTED_IN_WORDS, run_demo
    from hilum.progress import progress_for_terminal
    from hilum.report.audit_console import demo_lines

    result = run_demo(data, out, seed=seed, read=read, progress=progress_for_terminal())
    show(demo_lines(result.audit.report, result.injected, PLANTED_IN_WORDS))
    print_metrics(result.evaluation.metrics)
    say(f"audit: {out / 'audit' / 'audit.html'}")
    say(f"report: {result.report}")


app.command()(phantoms)


app.command()(audit)


@app.command()
@joins_data
@trains_on_devices
def train(
    data: Path | Dataset,
    out: Annotated[Path, typer.Option(help="Run folder to create.")],
    recipe: RecipeOption = None,
    settings: SetOption = None,
    encoder: EncoderOption = None,
    encoder_licence: EncoderLicenceOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run.")] = False,
    loggers: Annotated[
        list[str] | None,
        typer.Option(
            "--logger",
            metavar="tensorboard|mlflow|wandb",
            help="Log to RUN/logs, offline; may be repeated.",
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(metavar="local|ray", help="Decode the images here, or by a Ray cluster, before the training."),
    ] = "local",
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT|auto", help="Ray cluster that sees DATA; starts one by default.")
    ] = "",
    read: ReadOptions | None = None,
    *,
    devices: Devices,
) -> None:
    """Train a classifier."""
    from hilum.progress import progress_for_terminal
    from hilum.report.results import not_learnt
    from hilum.training.recipe import AUTO
    from hilum.training.train import train as run_training

    recipe, settings = _with_encoder(recipe, settings, encoder, encoder_licence)
    progress = progress_for_terminal()
    chosen: Recipe | None
    if recipe == AUTO:
        from hilum.evaluation.recipe_choice import choose_for

        check_alone(devices, "--recipe auto")
        data, chosen = choose_for(
            data, out, settings or [], resume=resume, read=read, engine=engine, address=address, progress=progress
        )
    else:
        chosen = None if resume and recipe is None and not settings else _recipe(recipe, settings)
    run = run_training(
        data,
        out,
        chosen,
        resume=resume,
        read=read,
        loggers=loggers or (),
        devices=devices,
        engine=engine,
        address=address,
        progress=progress,
    )
    if not writes(devices):
        return
    if best := run.environment.best:
        say(
            f"{out}: kept epoch {best.epoch} (step {best.step}): "
            f"validation loss {best.val_loss:.4f}, "
            + (
                f"mean AUROC {best.val_auroc:.3f}"
                if best.val_auroc is not None
                else f"accuracy {best.val_accuracy:.1%}"
            )
        )
        if warning := not_learnt(run):
            say(f"WARNING: {warning}")
    say(f"weights sha256: {run.environment.weights_sha256}")
    say(f"next: hilum evaluate {out}")


app.command()(datasets)
app.command()(evaluate)
app.command()(certify)
app.command()(prior)
app.command()(ensemble)
app.command()(ledger)
app.command()(compare)


@app.command()
@joins_data
def sweep(
    data: Path | Dataset,
    out: Annotated[Path, typer.Option(help="New folder; every trial is a run in it.")],
    recipe: RecipeOption = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE,VALUE,...", help="Values to compare, or one fixed value; may be repeated."
        ),
    ] = None,
    encoder: EncoderOption = None,
    encoder_licence: EncoderLicenceOption = None,
    monitor: Annotated[
        str | None,
        typer.Option(metavar="loss|accuracy|false_negatives|auroc", help="Validation metric; the recipe's by default."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue it; repeat the options.")] = False,
    engine: EngineOption = "local",
    address: AddressOption = "",
    cpus: CpusOption = 1,
    early_stopping: Annotated[
        bool, typer.Option("--early-stopping", help="With --engine ray, stop trials that fall behind on validation.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print only sweep.json.")] = False,
    read: ReadOptions | None = None,
) -> None:
    """Train with several values of some recipe keys, and choose by validation."""
    from hilum.progress import progress_for_terminal
    from hilum.report.sweep_page import sweep_table, write_sweep_page
    from hilum.training.parallel import Engine
    from hilum.training.sweep import sweep as run_sweep

    recipe, settings = _with_encoder(recipe, settings, encoder, encoder_licence)
    result = run_sweep(
        data,
        out,
        settings or [],
        recipe=recipe or "compact",
        monitor=_monitor(monitor),
        resume=resume,
        engine=Engine(engine, address, cpus),
        early_stopping=early_stopping,
        read=read,
        progress=progress_for_terminal(),
    )
    print_result(result, sweep_table(result, out), write_sweep_page(out, result), as_json=as_json)
    if result.choice is not None and not as_json:
        say(f"next: hilum evaluate {out / 'trials' / result.groups[0].trials[0]}")


@app.command()
@joins_data
def crossval(
    data: Path | Dataset,
    out: Annotated[Path, typer.Option(help="New folder; every fold is a run in it.")],
    folds: Annotated[int, typer.Option(help="Number of folds; with --by one for each source.", min=2)] = 5,
    by: Annotated[
        str, typer.Option(metavar="COLUMN", help="Test each source once: each value of source, dataset, view, ...")
    ] = "",
    reference: Annotated[bool, typer.Option(help="With --by, train ordinary folds for comparison.")] = True,
    repeats: Annotated[
        int, typer.Option(help="Random seeds of these ordinary folds: the drop's interval counts their chance.", min=1)
    ] = 5,
    recipe: RecipeOption = None,
    settings: SetOption = None,
    encoder: EncoderOption = None,
    encoder_licence: EncoderLicenceOption = None,
    seed: Annotated[int, typer.Option(help="Random seed of the division into folds.", min=0)] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue it; repeat the options.")] = False,
    engine: EngineOption = "local",
    address: AddressOption = "",
    cpus: CpusOption = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print only crossval.json.")] = False,
    read: ReadOptions | None = None,
) -> None:
    """Train and test in turns, so that every patient, or with --by every source, is tested once."""
    from hilum.evaluation.crossval import crossval as run_crossval
    from hilum.progress import progress_for_terminal
    from hilum.report.findings_crossval import shown_crossval, write_shown_crossval
    from hilum.training.parallel import Engine

    chosen = _recipe(*_with_encoder(recipe, settings, encoder, encoder_licence))
    progress = progress_for_terminal()
    result = run_crossval(
        data,
        out,
        chosen,
        folds=folds,
        by=by,
        reference=reference,
        repeats=repeats,
        seed=seed,
        resume=resume,
        engine=Engine(engine, address, cpus),
        read=read,
        progress=progress,
    )
    print_result(result, shown_crossval(result), write_shown_crossval(out, result), as_json=as_json)


@app.command()
def report(run: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Write report.html: data, model, training, results, gallery."""
    from hilum.report.run_page import write_report

    say(f"report: {write_report(run)}")


@app.command()
def summary(
    recipe: RecipeOption = None,
    settings: SetOption = None,
    labels: Annotated[
        str, typer.Option(help="Names, separated by commas.")
    ] = "normal,infected/covid,infected/non-covid",
) -> None:
    """Layers, output shapes, parameters, sizes."""
    from hilum.models.registry import build_classifier, summarise

    chosen = _recipe(recipe, settings)
    size = chosen.preprocessing.size
    names = [label.strip() for label in labels.split(",")]
    kind = chosen.network
    network = build_classifier(
        chosen.hierarchy, kind.architecture, names, size, members=kind.ensemble_size, **kind.options
    )
    typer.echo(on_page(summarise(network, size).to_text()))


app.command()(model_commands.export)
app.command()(predict_command.predict)
app.command()(serve)
app.add_typer(node)
app.command()(model_commands.schema)
app.command()(env)


def _with_encoder(
    recipe: str | None, settings: list[str] | None, encoder: str | None, licence: str | None
) -> tuple[str | None, list[str] | None]:
    """Recipe and settings with those that the options of an encoder stand for."""
    given = {"encoder.file": encoder, "encoder.licence": licence}
    more = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given.items() if value is not None]
    return (recipe or ("encoder" if encoder else None), [*(settings or []), *more] if more else settings)


def _recipe(name: str | None, settings: list[str] | None) -> Recipe:
    from hilum.training.recipe import load_recipe

    return load_recipe(name or "compact", settings or [])


def _monitor(name: str | None) -> Monitor | None:
    from typing import get_args

    from hilum.training.plan import Monitor

    if name is not None and name not in get_args(Monitor):
        msg = f"--monitor {name}: choose by {', '.join(get_args(Monitor))}."
        raise UsageError(msg)
    return cast("Monitor | None", name)


def main() -> None:
    """Run the command line; every error that is foreseen is one message and an exit code."""
    for stream in (sys.stdout, sys.stderr):  # a name may hold what the terminal's encoding does not
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.argv[1:], notes = arguments_of_today(sys.argv[1:])
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    try:
        code = app(prog_name="hilum", standalone_mode=False)
    except Exception as error:  # of a kind that `message_of` knows, or a fault of hilum's
        message, code = message_of(error, sys.argv[1:])
        if message is None:
            raise
        typer.echo(message, err=True)
    if code == INTERRUPTED:
        typer.echo(f"\n{interrupted(sys.argv[1:])}", err=True)
    sys.exit(code)
