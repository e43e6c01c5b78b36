"""The command that makes phantoms, with one label or with several findings an image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hilum.cli.arguments import say
from hilum.errors import UsageError

SEVERAL = "Several findings an image"


def phantoms(
    out: Annotated[Path, typer.Argument(help="A folder that is new or empty.")],
    patients: Annotated[int, typer.Option(help="Number of patients, each with 1 to 3 images.", min=6)] = 600,
    size: Annotated[int, typer.Option(help="Pixels a side.", min=64, max=2048)] = 128,
    test_fraction: Annotated[float, typer.Option(help="Share of patients in test.", min=0.05, max=0.9)] = 0.3,
    seed: Annotated[int, typer.Option(help="Random seed of the phantoms.", min=0)] = 0,
    masks: Annotated[bool, typer.Option(help="Write masks of lesions and lungs.")] = True,
    inject: Annotated[
        list[str] | None,
        typer.Option(metavar="DEFECT", help="A defect to inject, such as marker:infected/covid; may be repeated."),
    ] = None,
    findings: Annotated[
        bool,
        typer.Option("--findings", help="Draw several findings an image, not one label.", rich_help_panel=SEVERAL),
    ] = False,
    prevalence: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FINDING=SHARE",
            help="Share of the images with a finding, such as effusion=0.3; may be repeated.",
            rich_help_panel=SEVERAL,
        ),
    ] = None,
    uncertain: Annotated[
        float, typer.Option(help="Share of the table's values that are uncertain (-1).", rich_help_panel=SEVERAL)
    ] = 0.0,
    missing: Annotated[
        float, typer.Option(help="Share of the table's values that are missing.", rich_help_panel=SEVERAL)
    ] = 0.0,
) -> None:
    """Synthetic chest radiographs with known truth, and with injected defects on request.

    Defects that go with a label: marker, frame, brightness, format, size, bytes, such as marker:infected/covid.
    Defects that are counted: duplicates, patient, mislabel, such as duplicates:12.
    Findings: effusion, cardiomegaly, nodule, pneumothorax, consolidation, ground_glass.
    """
    from hilum.phantoms import Defect, parse_prevalence, write_findings_phantoms, write_phantoms
    from hilum.progress import progress_for_terminal

    _check(findings=findings, several=bool(prevalence or uncertain or missing), inject=bool(inject))
    defects = [Defect.parse(text) for text in inject or []]
    if findings:
        several = write_findings_phantoms(
            out,
            patients=patients,
            seed=seed,
            size=size,
            test_fraction=test_fraction,
            prevalences=dict(map(parse_prevalence, prevalence or [])),
            uncertain=uncertain,
            missing=missing,
            masks=masks,
            progress=progress_for_terminal(),
        )
        say(f"{out}: {several.images} images of {several.patients} patients")
        say(", ".join(f"{name} {number}" for name, number in several.positives.items()))
        return
    written = write_phantoms(
        out,
        patients=patients,
        seed=seed,
        size=size,
        test_fraction=test_fraction,
        defects=defects,
        masks=masks,
        progress=progress_for_terminal(),
    )
    say(f"{out}: {written.images} images of {written.patients} patients")


def _check(*, findings: bool, several: bool, inject: bool) -> None:
    if several and not findings:
        msg = "--prevalence, --uncertain and --missing describe findings: add --findings."
        raise UsageError(msg, code="no-findings")
    if inject and findings:
        msg = "--inject DEFECT goes with a label, and --findings has none. Leave one of them out."
        raise UsageError(msg, code="no-labels")
