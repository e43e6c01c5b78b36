"""From decoded images and a recipe to a run."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hilum.training.module import ClassifierModule, RadiographDataModule
    from hilum.training.torch_dataset import RadiographDataset

__all__ = ["ClassifierModule", "RadiographDataModule", "RadiographDataset"]


def __getattr__(name: str) -> Any:
    """Load the classes for PyTorch and Lightning when somebody asks for them (PEP 562)."""
    if name in __all__:
        module = "torch_dataset" if name == "RadiographDataset" else "module"
        return getattr(import_module(f"hilum.training.{module}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
