"""Checks of what was trained: better than chance, no worse than the champion, and a generator that draws many things.

All of them warn: a weak model is a person's decision, not a broken table.
"""

import math
from pathlib import Path
from typing import Any

import dagster as dg

from pipeline.champions.model_registry import RECOMMENDER, model_name
from pipeline.home.partitions import image_modes
from pipeline.home.storage import Storage
from pipeline.recommenders.registry import leading
from pipeline.runtime.summary import LatestMetadata
from pipeline.runtime.tracking import Tracker
from pipeline.upkeep.mlflow_records import champion

# Ours: a generator whose garments of a class differ by less than half of what real ones do draws few of them again
# and again. The measure is Kang et al.'s (2017), who name no bound.
DIVERSITY_BOUND = 0.5


@dg.asset_check(
    asset="recommender_evaluation",
    partitions_def=image_modes,
    description="The recommender's test AUC lies above random by its interval.",
)
def dvbpr_beats_chance(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """The lower end of the 95% interval must be above one half; a warning, for a person to look."""
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
    """Compare the test AUC with the champion's own, over the half-widths of both 95% intervals.

    The two were measured on the pairs of their own data version, so this is no paired test; whether the alias moves is
    decided by one. It says, at once and for every run, that something went wrong in between.
    """
    mode = context.partition_key
    figures = LatestMetadata(context.instance).of("recommender_evaluation", mode).get("figures", {})
    test = figures.get(leading(figures), {}).get("test", {})
    reigning = champion(tracker, model_name(RECOMMENDER, mode))
    if reigning is None:
        return _warning(True, skipped="no version of the registered model is champion yet")
    made, metrics = reigning
    if Path(made).name == storage.current("recommender", mode).run:
        return _warning(True, skipped="this model is the champion", champion=made)
    auc, low, high = (metrics.get(f"test_{name}") for name in ("auc", "auc_ci95_low", "auc_ci95_high"))
    if auc is None or low is None or high is None or "auc" not in test:
        return _warning(True, skipped="the champion's own evaluation is not in this MLflow", champion=made)
    ours = test["auc_ci95"]
    noise = math.hypot((high - low) / 2, (ours[1] - ours[0]) / 2)
    return _warning(
        test["auc"] >= auc - noise,
        auc=test["auc"],
        champion_auc=auc,
        expected_at_least=round(auc - noise, 5),
        champion=made,
    )


def _warning(passed: bool, **seen: Any) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=passed, severity=dg.AssetCheckSeverity.WARN, metadata=seen)


@dg.asset_check(
    asset="generator_evaluation",
    description="The generator's garments differ among themselves, not far less than real ones do.",
)
def the_generator_has_not_collapsed(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Compare the diversity (1 - SSIM within a class) of its garments with that of the held-out pictures."""
    figures: dict[str, Any] = LatestMetadata(context.instance).of("generator_evaluation").get("figures", {})
    fakes, reals = figures.get("diversity_ssim", math.nan), figures.get("floor_diversity_ssim", math.nan)
    bound = DIVERSITY_BOUND * reals
    return dg.AssetCheckResult(
        passed=bool(fakes >= bound),  # nan is not
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"diversity": _number(fakes), "real_pictures": _number(reals), "expected_at_least": _number(bound)},
    )


def _number(value: float | None) -> float | str:
    """A number as metadata; JSON has none for what is not one."""
    return "not known" if value is None or math.isnan(value) else float(value)
