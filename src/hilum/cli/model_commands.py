"""The commands of the model file: make one, ask one. They stand apart from `hilum.cli.app` for its length's sake."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from hilum.cli.arguments import print_json, say, show
from hilum.errors import TableError, UsageError
from hilum.files import read_text
from hilum.signatures import refuse_ignored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from hilum.exporting.export import Words
    from hilum.serving.explain import Explanation
    from hilum.serving.model_file import ModelFile
    from hilum.serving.prediction import Prediction
    from hilum.serving.predictor import Predictor
    from hilum.serving.result_files import ResultFiles


Found = TypeVar("Found")


def export(
    run: Annotated[Path, typer.Argument(help="A run folder; with --page, a model file will do.")],
    out: Annotated[Path, typer.Argument(help="File to write, such as model.onnx.")],
    name: Annotated[str, typer.Option(help="Name of the model; the run's by default.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the weights.")] = "",
    label_name: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL=WORDS", help="Display name of a label; may be repeated."),
    ] = None,
    card_intro: Annotated[Path | None, typer.Option(help="Markdown for the head of the model card.")] = None,
    hub: Annotated[
        Path | None, typer.Option("--hub-folder", metavar="DIR", help="Also write a folder for the Hugging Face Hub.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the run's images, if they moved.")] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Quantise the network to 8 bits and report the change in performance.")
    ] = False,
    page: Annotated[
        bool, typer.Option("--page", help="Write an HTML page that answers offline in a browser, model included.")
    ] = False,
    runtime: Annotated[
        Path | None,
        typer.Option(metavar="FILE|DIR", help="With --page: onnxruntime-web, as npm pack or node_modules has it."),
    ] = None,
) -> None:
    """Write one file that holds everything needed to decide about a radiograph."""
    if page and run.is_file():
        names = ("--name", "--licence", "--label-name", "--card-intro", "--hub-folder", "--data", "--int8")
        values = (name, licence, label_name, card_intro, hub, data, int8)
        given = [option for option, value in zip(names, values, strict=True) if value]
        _page_of_model_file(run, out, runtime, given)
        return
    if runtime and not page:
        msg = f"--runtime {runtime}: is for --page alone. Add --page, or leave it out."
        raise UsageError(msg)
    from hilum.exporting.export import UNSTATED, Words

    shown = {}
    for text in label_name or []:
        label, equals, words = text.partition("=")
        if not equals:
            msg = f"--label-name {text}: write LABEL=WORDS."
            raise UsageError(msg)
        shown[label.strip()] = words.strip()
    try:
        head = read_text(card_intro) if card_intro else ""
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{card_intro}: cannot be read ({error}). Name a Markdown file."
        raise UsageError(msg) from error
    if hub:
        from hilum.exporting.export import check_hub_folder

        check_hub_folder(hub)
    said = Words(name, licence or UNSTATED, shown, head)
    if page:
        _page_of_run(run, out, runtime, partial(_exported, run, said=said, data=data, int8=int8, hub=hub))
        return
    model_file = _exported(run, out, said=said, data=data, int8=int8, hub=hub)
    say(f"{out}: {len(model_file.model):,} bytes, sha256 {model_file.sha256}")
    say(f"next: hilum predict IMAGES --model {out}")


def _exported(run: Path, out: Path, *, said: Words, data: Path | None, int8: bool, hub: Path | None) -> ModelFile:
    """Export a run, and write the folder for a hub."""
    from hilum.exporting.export import export as run_export
    from hilum.exporting.export import write_hub_folder
    from hilum.progress import progress_for_terminal
    from hilum.training.run import open_run

    model_file = run_export(open_run(run), out, said, data=data, int8=int8, progress=progress_for_terminal())
    if hub:
        write_hub_folder(model_file, hub)
        say(f"{hub}: push it with huggingface_hub.upload_folder; load it with --model hf://OWNER/NAME")
    return model_file


def _page_of_model_file(file: Path, out: Path, runtime: Path | None, ignored: list[str]) -> None:
    """Write the page of a model file, which takes no PyTorch."""
    from hilum.serving.model_file import open_model_file

    if ignored:
        msg = f"{file}: is a model file already, to which {ignored[0]} does not apply. Name its run, or leave it out."
        raise UsageError(msg, code="exported-already", path=file)
    _write_page(out, file, runtime, lambda: open_model_file(file))


def _page_of_run(run: Path, out: Path, runtime: Path | None, exported: Callable[[Path], ModelFile]) -> None:
    """Write the page of a run."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        _write_page(out, run, runtime, lambda: exported(Path(folder) / "model.onnx"))


def _write_page(out: Path, source: Path, runtime: Path | None, model: Callable[[], ModelFile]) -> None:
    """Write a page; what is missing for it is found before the model is made."""
    from hilum.exporting.page import read_runtime, write_page
    from hilum.outputs import PAGE, check_file_place, check_target

    check_file_place(out)
    check_target(out, PAGE, inputs=[path for path in (source, runtime) if path])
    found = read_runtime(runtime)
    model_file = model()
    size = write_page(out, model_file, found)
    say(f"{out}: {size:,} bytes, model {model_file.name}, sha256 {model_file.sha256}")
    say("next: open it in a browser")


def predict(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATHS]...", help="Images or folders; with --parquet, also lists and addresses (s3://...)."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="FILE|hf://OWNER/NAME", help="Model file; the pretrained one by default."),
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
    from hilum.serving.predictor import Predictor
    from hilum.serving.writing import takes_stdout, writing

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
    predictor = Predictor(model, threads=threads)
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


def schema(
    of: Annotated[
        str,
        typer.Argument(
            metavar="audit|metrics|findings|prediction",
            help="Kind of file: metrics of labels or of findings; prediction is that of predict --json.",
        ),
    ],
) -> None:
    """Print the JSON Schema of what `hilum audit`, `hilum evaluate` or a line of `hilum predict --json` writes."""
    from pydantic import TypeAdapter

    from hilum.auditing.findings import AuditReport
    from hilum.evaluation.findings_schema import FindingsMetrics
    from hilum.evaluation.schema import Metrics
    from hilum.serving.prediction import Line

    forms: dict[str, TypeAdapter[Any]] = {
        "audit": TypeAdapter(AuditReport),
        "metrics": TypeAdapter(Metrics),
        "findings": TypeAdapter(FindingsMetrics),
        "prediction": TypeAdapter(Line),
    }
    if of not in forms:
        msg = f"no schema of '{of}'. There are: {', '.join(forms)}"
        raise UsageError(msg)
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    print_json(dialect | forms[of].json_schema(mode="serialization"))


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
    from hilum.serving.predictor import Predictor
    from hilum.serving.studies import predict_studies
    from hilum.serving.writing import takes_stdout, writing

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
    predictor = Predictor(model, threads=threads)
    summary = StudySummary(predictor.model_file)
    read = [*(file for files in grouped.studies.values() for file in files), Path(how), Path(how.rpartition(":")[0])]
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
