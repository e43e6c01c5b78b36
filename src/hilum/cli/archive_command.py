"""``hilum predict --parquet``: more images than one call should answer about at once."""

from __future__ import annotations

from pathlib import Path

import typer

from hilum.archives.predict_archive import predict_archive
from hilum.archives.shards import SHARD_SIZE
from hilum.cli.arguments import say
from hilum.progress import progress_for_terminal
from hilum.serving.model_file import OF_CHILDREN


def predict_archives(
    paths: list[str],
    out: Path,
    model: str | None,
    engine: str,
    address: str,
    threads: int | None,
    shard_size: int | None,
) -> None:
    """Ask about an archive; what was answered before is not asked again."""
    if model is None:
        say(f"model: {OF_CHILDREN}. To use another: --model NAME", err=True)
    unlisted: list[str] = []
    counted = predict_archive(
        paths,
        out,
        model,
        engine=engine,
        address=address,
        threads=threads,
        shard_size=shard_size or SHARD_SIZE,
        progress=progress_for_terminal(),
        unlisted=unlisted.append,
    )
    if counted.errors:
        say(f"{counted.errors:,} of {counted.images:,} files could not be read; see the column error", err=True)
    say(f"predictions: {out}, {counted.images:,} images")
    for message in unlisted:
        say(f"error: {message}", err=True)
    if unlisted or counted.errors == counted.images:
        raise typer.Exit(1)
