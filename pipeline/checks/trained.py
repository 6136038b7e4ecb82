"""Check trained models: better than chance, no worse than the champion, and a generator with enough diversity.

They only warn, because a person decides what to do with a weak model; but no lists below popularity's are made.
"""

import math
from pathlib import Path
from typing import Any

import dagster as dg

from pipeline.champions.model_registry import RECOMMENDER, model_name
from pipeline.home.partitions import image_modes
from pipeline.home.storage import Storage
from pipeline.recommenders.registry import leading
from pipeline.recommenders.trained import trained as newest_models
from pipeline.runtime.summary import LatestMetadata
from pipeline.runtime.tracking import Tracker
from pipeline.upkeep.mlflow_records import champion

# This project's bound: below half the diversity of real garments in a class, the generator repeats a few of them. The
# measure is from Kang et al. (2017), who give no bound.
DIVERSITY_BOUND = 0.5


@dg.asset_check(
    asset="recommender_evaluation",
    partitions_def=image_modes,
    description="The 95% interval of the recommender's test AUC lies above 0.5.",
)
def the_recommender_beats_chance(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Warn if the lower end of the 95% interval is not above one half."""
    figures = LatestMetadata(context.instance).of("recommender_evaluation", context.partition_key).get("figures", {})
    test = figures.get(leading(figures), {}).get("test", {})
    low = test.get("auc_ci95", [0.0])[0]
    return dg.AssetCheckResult(
        passed=low > 0.5,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"auc": test.get("auc", 0.0), "lower_end": low, "expected_above": 0.5},
    )


@dg.asset_check(
    asset="recommender_evaluation",
    partitions_def=image_modes,
    description="The mode's recommender is not below the champion by more than the noise of both.",
)
def not_below_the_champion(
    context: dg.AssetCheckExecutionContext, storage: Storage, tracker: Tracker
) -> dg.AssetCheckResult:
    """Compare the test AUC with the champion's, allowing for the half-widths of both 95% intervals.

    The two AUCs are over the pairs of different data versions, so this is no paired test. Succession does use a paired
    test. This check shows at once, for every run, that something went wrong in between.
    """
    mode = context.partition_key
    figures = LatestMetadata(context.instance).of("recommender_evaluation", mode).get("figures", {})
    test = figures.get(leading(figures), {}).get("test", {})
    current = champion(tracker, model_name(RECOMMENDER, mode))
    if current is None:
        return _warning(True, skipped="no version of the registered model is champion yet")
    made, metrics = current
    ours = newest_models(storage, mode).get(leading(figures))
    if ours is None or Path(made).name == ours.run:
        return _warning(True, skipped="this model is the champion", champion=made)
    auc, low, high = (metrics.get(f"test_{name}") for name in ("auc", "auc_ci95_low", "auc_ci95_high"))
    if auc is None or low is None or high is None or "auc" not in test:
        return _warning(True, skipped="the champion's own evaluation is not in this MLflow", champion=made)
    interval = test["auc_ci95"]
    noise = math.hypot((high - low) / 2, (interval[1] - interval[0]) / 2)
    return _warning(
        test["auc"] >= auc - noise,
        auc=test["auc"],
        champion_auc=auc,
        expected_at_least=round(auc - noise, 5),
        champion=made,
    )


@dg.asset_check(
    asset="recommender_champion",
    partitions_def=image_modes,
    blocking=True,
    description="The lists of the recommender that is served are not below popularity's, by the interval of NDCG.",
)
def what_is_served_is_not_below_popularity(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Block picks and designs if the champion is below popularity, and say how to mend it."""
    found = LatestMetadata(context.instance).of("recommender_champion", context.partition_key)
    served: dict[str, Any] = dict(found.get("served") or {})
    below = bool(served.get("below", False))
    seen = {name: value for name, value in served.items() if value is not None}
    if below:
        seen["remedy"] = (
            "the alias champion is on a version whose lists are worse than the most popular items: delete the alias "
            "(docs/compare.md) and materialise recommender_champion, which then chooses the best model"
        )
    unserved = found.get("better_but_cannot_be_served") or []
    return dg.AssetCheckResult(
        passed=not below,
        metadata={
            "served": found.get("recommender", ""),
            **seen,
            **({"better_but_cannot_be_served": ", ".join(unserved)} if unserved else {}),
        },
    )


def _warning(passed: bool, **seen: Any) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=passed, severity=dg.AssetCheckSeverity.WARN, metadata=seen)


@dg.asset_check(
    asset="generator_evaluation",
    description="The generator's garments are at least half as diverse as real ones.",
)
def the_generator_has_not_collapsed(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Compare the diversity (1 - SSIM within a class) of generated garments with that of held-out pictures."""
    figures: dict[str, Any] = LatestMetadata(context.instance).of("generator_evaluation").get("figures", {})
    fakes, reals = figures.get("diversity_ssim", math.nan), figures.get("real_diversity_ssim", math.nan)
    bound = DIVERSITY_BOUND * reals
    return dg.AssetCheckResult(
        passed=bool(fakes >= bound),  # False for nan
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"diversity": _number(fakes), "real_pictures": _number(reals), "expected_at_least": _number(bound)},
    )


def _number(value: float | None) -> float | str:
    """Return a number as metadata, or words if it is missing or nan, which JSON cannot hold."""
    return "not known" if value is None or math.isnan(value) else float(value)
