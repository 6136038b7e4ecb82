"""Atelier's public Python API. Everything here is imported on first use, so that `import atelier` stays quick."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.data.factors import Factors
    from models.metrics.evaluate import evaluate
    from pipeline.build import build_definitions
    from pipeline.recommenders.contract import Recommender
    from pipeline.recommenders.registry import RECOMMENDERS

_PLACES = {
    "Factors": "models.data.factors",
    "RECOMMENDERS": "pipeline.recommenders.registry",
    "Recommender": "pipeline.recommenders.contract",
    "build_definitions": "pipeline.build",
    "evaluate": "models.metrics.evaluate",
}
__all__ = ["RECOMMENDERS", "Factors", "Recommender", "build_definitions", "evaluate"]


def __getattr__(name: str) -> Any:
    """Import a public name where it is defined."""
    import importlib

    if name not in _PLACES:
        raise AttributeError(f"atelier has no {name!r}; it has: {', '.join(__all__)}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return list(__all__)
