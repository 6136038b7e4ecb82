"""Cornac's VBPR, as released and tuned: a peer for studies, run in a separate environment."""

from pipeline.recommenders.contract import FEATURES, FitContext, FitProgress, Fitted, Recommender
from pipeline.recommenders.cornac_settings import CornacSettings, TunedCornacSettings


class CornacVbpr(Recommender):
    """Cornac's VBPR as released; the number of epochs is chosen on validation."""

    name = "cornac_vbpr"
    title = "Cornac's VBPR"
    settings_class = CornacSettings
    needs = frozenset({FEATURES})

    def fit(self, context: FitContext, settings: CornacSettings) -> Fitted:
        """Install Cornac under the home on first use, train with it, and read its factors."""
        from pipeline.recommenders import cornac_peer

        assert context.features is not None
        factors, details = cornac_peer.fit(
            context.data,
            context.features,
            settings,
            context.seed,
            context.home,
            context.folder,
            lambda done, total, note: context.report(FitProgress(done, total, note)),
        )
        return Fitted(factors, details=details)


class TunedCornacVbpr(CornacVbpr):
    """Cornac's VBPR with the settings that our VBPR tunes, also tuned on validation."""

    name = "cornac_vbpr_tuned"
    title = "Cornac's VBPR, tuned"
    settings_class = TunedCornacSettings
