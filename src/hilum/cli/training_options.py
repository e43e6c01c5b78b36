"""Options that several of the commands that train have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RECIPES = sorted(file.stem for file in (Path(__file__).parents[1] / "recipes").glob("*.toml"))

RecipeOption = Annotated[
    str | None,
    typer.Option(
        "--recipe", metavar="NAME|FILE", help=f"{', '.join(RECIPES)} (compact by default), auto, or a TOML file."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change one key of the recipe; may be repeated."),
]
EncoderOption = Annotated[
    str | None,
    typer.Option(
        "--encoder",
        metavar="FILE|FOLDER|NAME|hf://OWNER/NAME",
        help="Frozen ONNX encoder of images, under a penalised logistic regression (recipe encoder).",
    ),
]
EncoderLicenceOption = Annotated[
    str | None, typer.Option("--encoder-licence", metavar="TEXT", help="Licence of the encoder.")
]
EngineOption = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="local|ray",
        help="Train one run after the other, or several at a time by Ray (extra \\[ray]); the results are the same.",
    ),
]
AddressOption = Annotated[
    str,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="With --engine ray, head of a cluster, whose nodes share a file system that holds DATA and --out; "
        "this machine by default.",
    ),
]
CpusOption = Annotated[
    int, typer.Option("--cpus-per-trial", help="With --engine ray, CPUs and threads of each run.", min=1)
]
