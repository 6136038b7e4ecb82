"""What all peers share: hand the data to a worker in the peer's environment, and choose its model on validation."""

from pathlib import Path
from typing import ClassVar

from pipeline.recommenders.contract import FitContext, FitProgress, Fitted, NotApplicableError, Recommender
from pipeline.recommenders.peers.environment import PeerEnvironment
from pipeline.recommenders.peers.settings import PeerSettings


class Peer(Recommender):
    """A recommender of another project. Subclasses set the attributes of a recommender and these."""

    environment: ClassVar[PeerEnvironment]
    worker: ClassVar[str]  # file name of the script beside this module
    needs_times: ClassVar[bool] = False
    takes_prior = True

    def fit(self, context: FitContext, settings: PeerSettings) -> Fitted:
        """Train at every point of the settings, after installing the peer on first use; keep the best on validation.

        Raises:
            NotApplicableError: it cannot be installed here, or cannot learn from this data.
            PeerError: it failed, or took too long.
        """
        import numpy as np

        from models.metrics import selection
        from pipeline.recommenders.peers import exchange

        self.check(context)
        context.folder.mkdir(parents=True, exist_ok=True)
        data, points = context.data, settings.points()
        touched = np.concatenate([data.train, data.validation, data.test])
        given, returned = context.folder / exchange.IN, context.folder / exchange.OUT
        best, best_value, tried, by = None, -np.inf, [], selection.name_of(len(data.validation))
        for done, point in enumerate(points):
            context.report(
                FitProgress(done, len(points), ", ".join(f"{name} {value}" for name, value in point.items()))
            )
            exchange.write_given(given, context, settings.epochs, point)
            script = Path(__file__).with_name(self.worker)
            self.environment.run(context.home, script, [given, returned], settings.most_minutes * 60)
            models = exchange.read_returned(returned, data, len(settings.epochs))
            for epochs, model in zip(sorted(settings.epochs), models, strict=True):
                figures = selection.measures(model, data.validation, touched, context.device)
                tried.append({**point, "epochs": epochs, **selection.row_of(figures)})
                if best is None or figures[by] > best_value:
                    best, best_value = model, figures[by]
        context.report(FitProgress(len(points), len(points)))
        assert best is not None
        return Fitted(best, details={"grid": tried, "selected_by": by, "peer": self.environment.version})

    def check(self, context: FitContext) -> None:
        """Raise NotApplicableError if the peer cannot learn from this data."""
        from models.data.priors import has_times

        if self.needs_times and not has_times(context.data):
            raise NotApplicableError(f"{self.title} needs the times of purchases, and this data has none")
