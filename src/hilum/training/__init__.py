"""From decoded images and a recipe to a run."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hilum.training.module import ClassifierModule, RadiographDataModule

__all__ = ["ClassifierModule", "RadiographDataModule"]


def __getattr__(name: str) -> Any:
    """Load the Lightning modules, and with them PyTorch, when somebody asks for them (PEP 562)."""
    if name in __all__:
        return getattr(import_module("hilum.training.module"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
