"""Settings of `modern`, a sum of parts with weights fitted on validation: what each one does and why it exists.

docs/recommender-study.md shows how much each part gains.
"""

from dataclasses import asdict, dataclass
from typing import Annotated

from typing_extensions import Doc

from models.training.plain_settings import PlainSettings
from models.training.search import Space, Span

PARTS = ("image", "text", "categories", "popularity", "recent_popularity", "recency", "bought_together", "dates")


@dataclass(frozen=True)
class ModernSettings(PlainSettings):
    """Settings of `modern`. The defaults are the preset, chosen on validation. ValueError names the field."""

    parts: Annotated[tuple[str, ...], Doc(f"Parts of the score, of {', '.join(PARTS)}.")] = PARTS

    # The spaces of pictures and texts are fitted on train items only: held-out items must not shape them.
    components: Annotated[int, Doc("Principal components kept of picture features; the rest is mostly noise.")] = 256
    whiten: Annotated[
        float, Doc("Divide components of pictures and texts by their spread to this power, 0 to 1; 1 makes all equal.")
    ] = 0.5
    ridge: Annotated[float, Doc("Ridge of the similarity learnt from purchases, in units of an average component.")] = (
        1.0
    )
    share_prior: Annotated[
        float, Doc("Purchases of an average customer that are added to each person's shares of categories.")
    ] = 5.0
    largest_categories: Annotated[
        int, Doc("Categories kept on each level of the path, the most bought; others count as none.")
    ] = 256
    recent_days: Annotated[float, Doc("Days in which a purchase comes to count 1/e in recent_popularity.")] = 90.0
    factors: Annotated[int, Doc("Factors of what is bought by the same people.")] = 128
    date_days: Annotated[int, Doc("Days of the periods in which purchases are counted, for people and items.")] = 30

    pull: Annotated[
        float, Doc("Pull of the fitted weights towards `weight`, in held-out pairs: it decides if there are few.")
    ] = 5.0
    weight: Annotated[float, Doc("Weight of a part, whose scores have spread 1, before validation is looked at.")] = 0.3
    comparisons: Annotated[
        int, Doc("Comparisons of a held-out item with one that the user does not have, for fitting the weights.")
    ] = 2_000_000
    seed: Annotated[int, Doc("Seed of the items compared with, and of the factors' decomposition.")] = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        unknown = [part for part in self.parts if part not in PARTS]
        once = len(set(self.parts)) == len(self.parts)
        self._require("parts", self.parts and not unknown and once, f"one or more of {', '.join(PARTS)}, each once")
        for name in ("components", "largest_categories", "factors", "date_days", "comparisons"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("ridge", "share_prior", "recent_days", "pull"):
            self._require(name, getattr(self, name) > 0, "above 0")
        for name in ("weight", "seed"):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        self._require("whiten", 0 <= self.whiten <= 1, "from 0 to 1")

    def plain(self) -> dict[str, object]:
        """Convert the settings to a dict of plain values, for manifests and reports."""
        return {**asdict(self), "parts": list(self.parts)}

    def _require(self, name: str, holds: object, allowed: str) -> None:
        if not holds:
            raise ValueError(f"ModernSettings.{name}={getattr(self, name)!r}; it must be {allowed}")


PRESETS: dict[str, ModernSettings] = {"modern": ModernSettings()}

SPACE: Space = {
    "components": Span(32, 512, log=True),
    "whiten": Span(0.0, 1.0),
    "ridge": Span(0.1, 30.0, log=True),
    "share_prior": Span(0.5, 50.0, log=True),
    "recent_days": Span(7.0, 365.0, log=True),
    "factors": Span(16, 256, log=True),
    "date_days": Span(7, 90, log=True),
    "pull": Span(0.5, 100.0, log=True),
}
