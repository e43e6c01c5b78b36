"""The commands of the model file: make one, and what is in the files that hilum writes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hilum.cli.arguments import print_json, say
from hilum.errors import UsageError
from hilum.files import read_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from hilum.exporting.export import Words
    from hilum.serving.model_file import ModelFile


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
    from hilum.serving.model_file import named_model

    if page and (run := named_model(run)).is_file():
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
