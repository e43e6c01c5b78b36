"""hilum trains, audits and validates chest X-ray classifiers.

::

    import hilum

    report = hilum.audit("images/")
    run = hilum.train("images/", "runs/first")
    print(hilum.evaluate(run))
    model = hilum.load("model.onnx")
    model.predict_proba(["image.png"])
"""

import os

# Nothing reports to anybody. Libraries read these when they are imported, and whatever hilum imports comes after this.
SILENT = {
    "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime 1.32 tells Microsoft about the machine and every session
    "HF_HUB_DISABLE_TELEMETRY": "1",  # huggingface_hub tells Hugging Face with which libraries it is used
    "MLFLOW_DISABLE_TELEMETRY": "true",  # MLflow 3 tells Databricks which of its functions are called
    "WANDB_ERROR_REPORTING": "false",  # wandb sends its errors to Sentry
}
os.environ.update(SILENT)

TYPE_CHECKING = False  # as in `typing`, which is not imported for it
if TYPE_CHECKING:
    from typing import Any

    from hilum.api.audits import Audit, audit
    from hilum.api.comparisons import Comparison, FindingsComparison, compare
    from hilum.api.datasets import open_dataset
    from hilum.api.ensembles import ensemble
    from hilum.api.evaluations import Evaluation, evaluate
    from hilum.api.exports import export
    from hilum.api.findings_evaluations import FindingsEvaluation
    from hilum.api.model import Model, load
    from hilum.api.priors import set_prior
    from hilum.api.runs import Run, open_run
    from hilum.api.series import CrossValidation, Sweep, cross_validate, sweep
    from hilum.api.trainings import load_recipe, train
    from hilum.data.dataset import Dataset
    from hilum.errors import HilumError
    from hilum.serving.prediction import Prediction
    from hilum.training.recipe import Recipe

__version__ = "0.2.0"

__all__ = [
    "Audit",
    "Comparison",
    "CrossValidation",
    "Dataset",
    "Evaluation",
    "FindingsComparison",
    "FindingsEvaluation",
    "HilumError",
    "Model",
    "Prediction",
    "Recipe",
    "Run",
    "Sweep",
    "audit",
    "compare",
    "cross_validate",
    "ensemble",
    "evaluate",
    "export",
    "load",
    "load_recipe",
    "open_dataset",
    "open_run",
    "set_prior",
    "sweep",
    "train",
]

_MODULES = {
    "hilum.api.audits": ("Audit", "audit"),
    "hilum.api.comparisons": ("Comparison", "FindingsComparison", "compare"),
    "hilum.api.datasets": ("open_dataset",),
    "hilum.api.ensembles": ("ensemble",),
    "hilum.api.evaluations": ("Evaluation", "evaluate"),
    "hilum.api.exports": ("export",),
    "hilum.api.findings_evaluations": ("FindingsEvaluation",),
    "hilum.api.model": ("Model", "load"),
    "hilum.api.priors": ("set_prior",),
    "hilum.api.runs": ("Run", "open_run"),
    "hilum.api.series": ("CrossValidation", "Sweep", "cross_validate", "sweep"),
    "hilum.api.trainings": ("load_recipe", "train"),
    "hilum.data.dataset": ("Dataset",),
    "hilum.errors": ("HilumError",),
    "hilum.serving.prediction": ("Prediction",),
    "hilum.training.recipe": ("Recipe",),
}
_PLACES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> "Any":
    """Load a public name when it is used (PEP 562), so that `import hilum` loads nothing heavy."""
    if name not in _PLACES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    from hilum.extras import explaining

    with explaining(f"hilum.{name}"):
        found = globals()[name] = getattr(import_module(_PLACES[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
