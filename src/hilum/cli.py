"""The command line: one command a stage; parse, call, print.

Imports of the stages stand inside the commands, so that ``hilum --help`` needs none of them.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum import __version__
from hilum.errors import HilumError, UsageError

if TYPE_CHECKING:
    from hilum.evaluation.evaluate import Evaluation
    from hilum.training.recipe import Recipe

INTERRUPTED = 130  # what shells expect of a program that Ctrl-C has ended

app = typer.Typer(
    name="hilum",
    help="From a folder of labelled chest radiographs to a classifier whose worth is known.",
    epilog="Begin with: hilum demo. For research and teaching; not for diagnosis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

RecipeOption = Annotated[
    str | None, typer.Option("--recipe", metavar="NAME|FILE", help="compact (default), seed, or a TOML file.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the recipe; may be repeated."),
]


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
def demo(
    data: Annotated[Path | None, typer.Argument(help="A dataset; phantoms when none is given.")] = None,
    out: Annotated[Path, typer.Option(help="Where everything is put; an earlier demo there is replaced.")] = Path(
        "hilum-demo"
    ),
    seed: Annotated[int, typer.Option(help="Of phantoms and training.", min=0)] = 0,
) -> None:
    """The whole way: data, training, evaluation, report."""
    from hilum.demo import run_demo
    from hilum.progress import progress_for_terminal

    result = run_demo(data, out, seed=seed, progress=progress_for_terminal())
    _print_metrics(result.evaluation.metrics)
    typer.echo(f"report: {result.report}")


@app.command()
def phantoms(
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    patients: Annotated[int, typer.Option(help="How many patients; each has 1 to 3 images.", min=6)] = 600,
    size: Annotated[int, typer.Option(help="Pixels a side.", min=64, max=2048)] = 128,
    test_fraction: Annotated[float, typer.Option(help="Share of patients in test.", min=0.05, max=0.9)] = 0.3,
    seed: Annotated[int, typer.Option(help="Same seed, same phantoms.", min=0)] = 0,
    plant: Annotated[
        list[str] | None,
        typer.Option(metavar="DEFECT", help="A defect to plant, such as marker:infected/covid; may be repeated."),
    ] = None,
) -> None:
    """Synthetic chest radiographs with known truth, and with planted defects on request."""
    from hilum.data.phantoms import Defect, write_phantoms
    from hilum.progress import progress_for_terminal

    defects = [Defect.parse(text) for text in plant or []]
    written = write_phantoms(
        out,
        patients=patients,
        seed=seed,
        size=size,
        test_fraction=test_fraction,
        defects=defects,
        progress=progress_for_terminal(),
    )
    typer.echo(f"{out}: {written.images} images of {written.patients} patients")


@app.command()
def train(
    data: Annotated[Path, typer.Argument(help="Class folders, a folder with metadata.csv, or a CSV.")],
    out: Annotated[Path, typer.Option(help="The run folder to make.")],
    recipe: RecipeOption = None,
    settings: SetOption = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was interrupted.")] = False,
) -> None:
    """Train a classifier."""
    from hilum.progress import progress_for_terminal
    from hilum.training.train import train as run_training

    chosen = None if resume and recipe is None and not settings else _recipe(recipe, settings)
    run = run_training(data, out, chosen, resume=resume, progress=progress_for_terminal())
    best = run.environment["best"]
    typer.echo(
        f"{out}: kept epoch {best['epoch']} (step {best['step']}): "
        f"validation loss {best['val_loss']:.4f}, accuracy {best['val_accuracy']:.1%}"
    )
    typer.echo(f"weights sha256: {run.environment['weights_sha256']}")
    typer.echo(f"next: hilum evaluate {out}")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[Path | None, typer.Argument(help="Another dataset with the same labels.")] = None,
    split: Annotated[str, typer.Option(help="Which part of the data.")] = "test",
    out: Annotated[Path | None, typer.Option(help="Where to write, if not into the run.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print metrics.json, and nothing else.")] = False,
) -> None:
    """Measure how good a run is, with intervals."""
    import json

    from hilum.evaluation.evaluate import evaluate as run_evaluation
    from hilum.progress import progress_for_terminal
    from hilum.training.run import open_run

    result: Evaluation = run_evaluation(open_run(run), data, split=split, out=out, progress=progress_for_terminal())
    if as_json:
        typer.echo(json.dumps(result.metrics))
        return
    _print_metrics(result.metrics)
    typer.echo(f"written: {result.folder}")
    typer.echo(f"next: hilum report {run}")


@app.command()
def report(run: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Write report.html: data, model, training, results, gallery."""
    from hilum.reporting.page import write_report

    typer.echo(f"report: {write_report(run)}")


@app.command()
def summary(
    recipe: RecipeOption = None,
    settings: SetOption = None,
    labels: Annotated[
        str, typer.Option(help="Names, separated by commas.")
    ] = "normal,infected/covid,infected/non-covid",
) -> None:
    """Layers, output shapes, parameters, sizes."""
    from hilum.models.registry import build_classifier
    from hilum.models.summary import summarise

    chosen = _recipe(recipe, settings)
    size = chosen.preprocessing.size
    names = [label.strip() for label in labels.split(",")]
    network = build_classifier(chosen.architecture, chosen.network.name, names, size, **chosen.network.options)
    typer.echo(summarise(network, size).to_text())


def _recipe(name: str | None, settings: list[str] | None) -> Recipe:
    from hilum.training.recipe import load_recipe

    return load_recipe(name or "compact", settings or [])


def _print_metrics(metrics: dict[str, Any]) -> None:
    from rich.console import Console

    from hilum.evaluation.screen import result_table

    Console(highlight=False).print(result_table(metrics))


def main() -> None:
    """Run the command line; every error that hilum raises on purpose is one message and an exit code."""
    try:
        app()
    except HilumError as error:
        typer.echo(f"{'usage' if isinstance(error, UsageError) else 'error'}: {error}", err=True)
        sys.exit(error.exit_code)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            typer.echo("\ninterrupted. The same command with --resume continues a training.", err=True)
        raise
    except OSError as error:  # a full disk, a folder that is a file, missing permissions
        typer.echo(f"error: {error.filename or 'input or output'}: {error.strerror or error}.", err=True)
        sys.exit(1)
