"""`hilum predict`: ask a model file about radiographs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from hilum.cli.arguments import say, show
from hilum.errors import TableError, UsageError
from hilum.signatures import refuse_ignored

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hilum.serving.explain import Explanation
    from hilum.serving.model_file import ModelFile
    from hilum.serving.prediction import Prediction
    from hilum.serving.predictor import Predictor
    from hilum.serving.result_files import ResultFiles


Found = TypeVar("Found")


def predict(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATHS]...", help="Images or folders; with --parquet, also lists and addresses (s3://...)."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|NAME|hf://OWNER/NAME",
            help="Model file, or name of a pretrained model; by default the pretrained one nearest to the images, with "
            "--parquet paediatric-pneumonia.",
        ),
    ] = None,
    as_json: Annotated[
        str | None, typer.Option("--json", metavar="FILE|-", help="JSON Lines file; - is standard output.")
    ] = None,
    as_csv: Annotated[str | None, typer.Option("--csv", metavar="FILE|-", help="A table.")] = None,
    study: Annotated[
        str | None,
        typer.Option(
            metavar="folder|dicom|patient|TABLE.csv[:COLUMN]",
            help="Decide per study, grouped by folder, StudyInstanceUID, PatientID or a column.",
        ),
    ] = None,
    explained: Annotated[
        Path | None, typer.Option("--explain", metavar="DIR", help="Draw explanation maps and a page of them.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--explain-method", metavar="activation|occlusion", help="Method of the maps; activation if available."
        ),
    ] = None,
    label: Annotated[
        str, typer.Option(metavar="NAME", help="Label or finding that is explained, with --explain.")
    ] = "",
    reports: Annotated[
        Path | None,
        typer.Option("--sr", metavar="DIR", help="Write DICOM structured reports; with --explain, heatmaps too."),
    ] = None,
    enhanced: Annotated[
        bool, typer.Option("--sr-enhanced", help="Write Enhanced SR, for archives that refuse Comprehensive 3D SR.")
    ] = False,
    bundles: Annotated[
        Path | None, typer.Option("--fhir", metavar="DIR", help="Write FHIR R4 bundles about DICOM files.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Number of threads; all cores by default.", min=1)] = None,
    parquet: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write Parquet files, for archives; the same command resumes what was interrupted."
        ),
    ] = None,
    shard_size: Annotated[int | None, typer.Option(help="Images of a Parquet file; 1,024 by default.", min=1)] = None,
    engine: Annotated[
        str, typer.Option(metavar="local|ray", help="With --parquet: this process, or a Ray cluster.")
    ] = "local",
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT|auto", help="Address of the Ray cluster; starts one here by default.")
    ] = "",
) -> None:
    """Ask a model file about radiographs."""
    if parquet:
        others = {"--json": as_json, "--csv": as_csv, "--study": study, "--explain": explained}
        refuse_ignored("with --parquet", {**others, "--sr": reports, "--fhir": bundles})
        if not paths:
            raise UsageError(_no_paths({"--parquet": parquet, "--model": model}))
        from hilum.cli.archive_command import predict_archives

        predict_archives(paths, parquet, model, engine, address, threads, shard_size)
        return
    elsewhere = {"--engine": engine.replace("local", ""), "--address": address, "--shard-size": shard_size}
    refuse_ignored("without --parquet", elsewhere)
    files_given = [Path(path) for path in paths or []]
    from hilum.serving.console import Summary, answer_lines
    from hilum.serving.inputs import find_files
    from hilum.serving.writing import check_outputs, takes_stdout, writing

    if not explained:
        refuse_ignored("without --explain", {"--explain-method": method})
    if not reports:
        refuse_ignored("without --sr", {"--sr-enhanced": enhanced or None})
    if study is not None:
        if reports or bundles:
            msg = f"{'--sr' if reports else '--fhir'} takes single images, --study several together. Give one of them."
            raise UsageError(msg)
        _predict_studies(files_given, study, model, as_json, as_csv, explained, threads)
        return
    if not files_given:
        folders = {"--explain": explained, "--sr": reports, "--fhir": bundles}
        raise UsageError(_no_paths({**folders, "--json": as_json, "--csv": as_csv, "--model": model}))
    unlisted: list[str] = []
    files = list(find_files(files_given, (explained, reports, bundles), partial(say, err=True), unlisted.append))
    if not files:  # a folder without images is refused before; earlier answers are not replaced by none
        raise TableError(" ".join(unlisted))
    check_outputs(as_json, as_csv, inputs=files, pictures=explained)
    predictor = _predictor(model, files, threads)
    summary = Summary(predictor.model_file)
    results = _results(predictor.model_file, reports, bundles, enhanced)
    tell = partial(say, err=True)
    with writing(predictor, as_json, as_csv, inputs=files, pictures=explained, say=tell) as writer:
        asked = (
            _explained(predictor, files, explained, method, label)
            if explained
            else ((answer, None) for answer in predictor.predict_many(files))
        )
        for file, (answer, explanation) in zip(files, _shown(asked, len(files)), strict=True):
            writer.write(answer)
            summary.add(answer)
            if results:
                results.add(file, answer, explanation)
    if summary.warned:
        what = "a file was" if summary.warned == 1 else f"{summary.warned:,} files were"
        say(f"{what} read despite decoder warnings", err=True)
    if not summary.answered:  # nothing could be used
        for answer in summary.failed:
            say(f"error: {answer.path}: {answer.error}", err=True)
    if summary.errors and summary.total > 1:
        say(f"{summary.errors:,} of {summary.total:,} files could not be read", err=True)
    if summary.answered and not takes_stdout(as_json, as_csv):
        show(answer_lines(summary))
        if explained:
            say(f"explained: {explained / 'index.html'}")
    if results and results.written and not takes_stdout(as_json, as_csv):
        where = " and ".join(str(folder) for folder in (reports, bundles) if folder)
        say(f"reported: {results.written:,} of {summary.total:,} images, in {where}")
    for message in unlisted:
        say(f"error: {message}", err=True)
    if results:
        for message in results.complaints():
            say(message if results.written else f"error: {message}", err=True)
    if unlisted or not summary.answered or (results and not results.written):
        raise typer.Exit(1)


def _results(model: ModelFile, reports: Path | None, bundles: Path | None, enhanced: bool) -> ResultFiles | None:
    if not reports and not bundles:
        return None
    from hilum.serving.result_files import ResultFiles

    return ResultFiles(model, reports, bundles, enhanced)


def _predict_studies(
    paths: list[Path],
    how: str,
    model: str | None,
    as_json: str | None,
    as_csv: str | None,
    explained: Path | None,
    threads: int | None,
) -> None:
    """Ask about studies; a table may name the images, too."""
    from hilum.serving.console import StudySummary, study_lines
    from hilum.serving.inputs import find_files, group_files
    from hilum.serving.studies import predict_studies
    from hilum.serving.writing import check_outputs, takes_stdout, writing

    if explained:
        msg = "--explain takes single images, --study several together. Give one of them."
        raise UsageError(msg)
    if not paths and how in ("folder", "dicom", "patient"):
        raise UsageError(_no_paths({"--json": as_json, "--csv": as_csv, "--model": model}))
    unlisted: list[str] = []
    files = list(find_files(paths, (), partial(say, err=True), unlisted.append))
    if unlisted and not files:
        raise TableError(" ".join(unlisted))
    grouped = group_files(files, how)
    for note in grouped.notes:
        say(note, err=True)
    images = [file for files in grouped.studies.values() for file in files]
    read = [*images, Path(how), Path(how.rpartition(":")[0])]
    check_outputs(as_json, as_csv, inputs=read)
    predictor = _predictor(model, images, threads)
    summary = StudySummary(predictor.model_file)
    with writing(predictor, as_json, as_csv, of_studies=True, inputs=read, say=partial(say, err=True)) as writer:
        for found in _shown(predict_studies(predictor, grouped.studies, grouped.missing), len(grouped.studies)):
            writer.write_study(found)
            summary.add(found)
    if summary.unreadable:
        say(f"{summary.unreadable:,} of {summary.images:,} images could not be read", err=True)
    if not takes_stdout(as_json, as_csv):
        show(study_lines(summary))
    for message in unlisted:
        say(f"error: {message}", err=True)
    if unlisted or summary.unreadable == summary.images:
        raise typer.Exit(1)


def _predictor(model: str | None, files: list[Path], threads: int | None) -> Predictor:
    """Open the named model, or choose a pretrained one."""
    from hilum.serving.predictor import Predictor
    from hilum.serving.pretrained_choice import choose_pretrained

    if model is not None:
        return Predictor(model, threads=threads)
    found = choose_pretrained(files, threads=threads)
    if found.n_images:
        say(found.reason(), err=True)
    return found.predictor


def _no_paths(given: dict[str, str | Path | None]) -> str:
    """What to say where no image was named: most likely an option has taken its name for its own value."""
    for option, value in given.items():
        if value is not None and Path(value).exists():
            what = "DIR" if option in ("--explain", "--sr", "--fhir", "--parquet") else "FILE"
            write = f"hilum predict {value} {option} {what}"
            return f"no image was named: {option} takes a {what}, and took {value}. Write: {write}"
    return "no image was named. Write: hilum predict IMAGE, or a folder of images."


def _explained(
    predictor: Predictor, files: list[Path], folder: Path, method: str | None, label: str
) -> Iterator[tuple[Prediction, Explanation | None]]:
    """All answers with their explanations, each drawn before the next is asked for."""
    from hilum.errors import ExtraError, ImageError
    from hilum.serving.explain import explain
    from hilum.serving.explanation_gallery import Gallery
    from hilum.serving.prediction import Prediction

    gallery = Gallery(folder, files, predictor.model_file)
    for file in files:
        try:
            found = explain(predictor, file, method=method, label=label)
        except (ImageError, ExtraError) as error:
            failed = Prediction(str(file), error=str(error).removeprefix(f"{file}: "))
            gallery.fail(failed)
            yield failed, None
        else:
            gallery.add(file, found)
            yield found.answer, found
    gallery.close()


def _shown(answers: Iterable[Found], count: int) -> Iterator[Found]:
    """All answers; a bar or lines where there are enough to wait for."""
    from hilum.serving.session import CHUNK

    if count <= CHUNK:
        yield from answers
        return
    from hilum.progress import progress_for_terminal

    with progress_for_terminal().task("Predicting", count) as advance:
        for answer in answers:
            advance(1)
            yield answer
