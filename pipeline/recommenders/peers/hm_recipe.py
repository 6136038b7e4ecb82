"""The recipe that won H&M's public competition: candidates from a few sources, ranked by gradient-boosted trees."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.recommenders.contract import FACTS, FEATURES, FitContext, NotApplicableError
from pipeline.recommenders.peers.environment import PeerEnvironment
from pipeline.recommenders.peers.peer import Peer
from pipeline.recommenders.peers.settings import HmRecipeSettings

if TYPE_CHECKING:
    from models.metrics.scoring import ScoringModel


class HmRecipe(Peer):
    """Learns from the last weeks of train what is bought in the week after; measured by MAP@12 of the next week."""

    name = "hm_recipe"
    title = "H&M recipe"
    hint = "what is bought in the next week"
    settings_class = HmRecipeSettings
    needs = frozenset({FEATURES, FACTS})
    needs_times = True
    takes_prior = False
    environment = PeerEnvironment("lightgbm", ("lightgbm==4.7.0",), "lightgbm")
    worker = "hm_recipe_worker.py"

    def check(self, context: FitContext) -> None:
        """Raise NotApplicableError if the held-out pairs are not the future of train, or users and items too many."""
        from models.data.score_matrix import MOST_SCORES

        super().check(context)
        if not context.held_out_later:
            raise NotApplicableError(
                f"{self.title} predicts the week after train, and here not all held-out purchases are later than it: "
                "hold out by time"
            )
        scores = len(context.data.users) * len(context.data.items)
        if scores > MOST_SCORES:
            raise NotApplicableError(
                f"{self.title} writes a score for each user and item, here {scores:,}; {MOST_SCORES:,} at most"
            )

    def load(self, folder: Path) -> "ScoringModel":
        """Load the scores as a memory map."""
        from models.data.score_matrix import ScoreMatrix

        return ScoreMatrix.load(folder)

    def save(self, model: "ScoringModel", folder: Path) -> None:
        """Write the scores."""
        model.save(folder)  # ty: ignore[missing-attribute]
