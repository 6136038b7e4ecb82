"""BPR-MF (Rendle et al. 2009) and VBPR (He and McAuley 2016) on frozen features, each tuned on validation."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from models.baselines.settings import MF_SPACE, VBPR_SPACE, BprSettings
from pipeline.recommenders.contract import FEATURES, FitContext, FitProgress, Fitted, Recommender

if TYPE_CHECKING:
    from models.data.factors import Factors


class BprMf(Recommender):
    """BPR-MF."""

    name = "bpr_mf"
    title = "BPR-MF"
    hint = "learnt taste, no pictures"
    usual = True
    settings_class = BprSettings
    op = "baselines"
    space = MF_SPACE
    baseline = True
    takes_prior = True

    def fit(self, context: FitContext, settings: BprSettings) -> Fitted:
        """Train every point of the grid and keep the best on validation."""
        from models.metrics import selection
        from models.training.progress import Progress

        grid: list[dict[str, Any]] = []

        def report(now: Progress) -> None:
            grid.append({"setting": now.note, **now.metrics})
            context.report(FitProgress(now.done, now.total, now.note))

        features = (context.features,) if self.reads(FEATURES) else ()
        model = self._method()(context.data, *features, settings, on_progress=report)
        selected_by = selection.name_of(len(context.data.validation))
        return Fitted(model, selected_by=selected_by, details={"grid": grid, "selected_by": selected_by})

    def _method(self) -> "Callable[..., Factors]":
        from models.baselines import bpr

        return bpr.bpr_mf


class Vbpr(BprMf):
    """VBPR."""

    name = "vbpr"
    title = "VBPR"
    hint = "ImageNet features and learnt taste"
    reference = True
    needs = frozenset({FEATURES})
    space = VBPR_SPACE
    in_group_charts = True

    def _method(self) -> "Callable[..., Factors]":
        from models.baselines import bpr

        return bpr.vbpr


class VbprVisual(Vbpr):
    """VBPR's visual half: DVBPR's score on frozen features."""

    name = "vbpr_visual"
    title = "VBPR, looks alone"
    hint = "the same without factors of the item's id"
    usual = False
    reference = False
    in_group_charts = False

    def _method(self) -> "Callable[..., Factors]":
        from models.baselines import bpr

        return bpr.vbpr_visual
