"""`hilum prior`: the factors that move a run's probabilities to another prevalence or boundary."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hilum.cli.arguments import print_json, reads_data, say
from hilum.cli.evaluation_commands import MapOption
from hilum.data.options import ReadOptions
from hilum.errors import UsageError
from hilum.signatures import refuse_ignored


@reads_data
def prior(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[
        Path | None, typer.Argument(help="Other data with labels, with --choose; the run's own by default.")
    ] = None,
    prevalence: Annotated[
        str | None,
        typer.Option(metavar="LABEL=SHARE,...", help="State the prevalence where the model will be used."),
    ] = None,
    unlabelled: Annotated[
        Path | None,
        typer.Option(
            "--prevalence-from",
            metavar="DIR",
            help="Estimate the prevalence on images without labels, never test ones.",
        ),
    ] = None,
    choose: Annotated[
        str | None,
        typer.Option(metavar="accuracy|balanced-accuracy", help="Choose the factors by this measure, on labels."),
    ] = None,
    implied: Annotated[
        str | None,
        typer.Option(metavar="loss|calibration", help="Source of the prevalence implied so far; the loss by default."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Split to choose on, val by default, or calibration; never test.")
    ] = None,
    mapped: MapOption = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the prior step from the run.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print only prior.json.")] = False,
    read: ReadOptions | None = None,
) -> None:
    """Set a run's prior step, which evaluate, certify, export and predict apply after the temperature."""
    from hilum.evaluation.certificate import ANOTHER
    from hilum.evaluation.certificate_check import FILE
    from hilum.evaluation.cohort import parse_map
    from hilum.evaluation.prior_step import read_prior_step
    from hilum.evaluation.set_prior import parse_prevalences, remove_prior, set_prior
    from hilum.progress import progress_for_terminal
    from hilum.report.prior_text import prior_sentence
    from hilum.training.run import open_run

    opened = open_run(run)
    given = {"--prevalence": prevalence, "--prevalence-from": unlabelled, "--choose": choose}
    if choose is None:
        of_choosing = {"DATA": data, "--split": split, "--map-label": mapped} | (read.stated() if read else {})
        refuse_ignored("without --choose", of_choosing)
    if prevalence is None and unlabelled is None:
        refuse_ignored("without a prevalence", {"--implied": implied})
    if remove:
        refuse_ignored("with --remove", given)
        say("the prior step was removed" if remove_prior(opened) else "the run has no prior step")
        return
    asked = any(value is not None for value in given.values())
    kept = (
        set_prior(
            opened,
            data,
            prevalences=None if prevalence is None else parse_prevalences(prevalence),
            unlabelled=unlabelled,
            measure=choose,
            implied=implied or "loss",
            split=split or "val",
            mapping=parse_map(mapped or []),
            read=read,
            progress=progress_for_terminal(),
        )
        if asked
        else read_prior_step(opened)
    )
    if kept is None:
        msg = f"{run}: has no prior step. Set one with --prevalence, --prevalence-from or --choose."
        raise UsageError(msg, code="no-prior-step")
    if as_json:
        print_json(kept.as_json())
        return
    say(prior_sentence(kept))
    if asked:
        say(f"written: {opened.path / 'prior.json'}")
        say(f"next: hilum certify {run}, then hilum evaluate {run}")
        if (opened.path / FILE).exists():
            say(f"The certificate of before is void. For another one: {ANOTHER}.")
