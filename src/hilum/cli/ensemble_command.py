"""`hilum ensemble`: one run made of several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hilum.cli.arguments import say


def ensemble(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN RUN...", help="Two or more runs of the same images, labels and splits.")
    ],
    out: Annotated[Path, typer.Option(help="New folder of the run that is made.")],
) -> None:
    """Make one run of several, which may differ in preprocessing, network and recipe."""
    from hilum.evaluation.ensemble import make_ensemble
    from hilum.progress import progress_for_terminal
    from hilum.training.run import open_run

    made = make_ensemble([open_run(run) for run in runs], out, progress=progress_for_terminal())
    say(f"{out}: an ensemble of {len(runs)} runs; its probabilities are the geometric mean of theirs")
    say(f"weights sha256: {made.environment.weights_sha256}")
    say(f"next: hilum evaluate {out}")
