"""When an asset is made again by itself: the one automation condition, and why it is none of Dagster's own.

Here: which (asset, partition) is behind, and whether it is its turn. Looking at the raw files is `observation.py`'s;
how much new data a training is worth is `training_gate.py`'s; making anything is the assets'.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any

import dagster as dg
from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView
from dagster._core.asset_graph_view.entity_subset import EntitySubset
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleCauseCategory, StaleStatus
from dagster._core.definitions.events import AssetKeyPartitionKey

NIGHT = "0 3 * * *"  # UTC
# (asset, partition) -> whether it may be made again although nothing but the data it is made from has changed.
Gate = Callable[[str, str | None], bool]
# Whether somebody else is making things; while it is so nothing is asked for.
Busy = Callable[[], bool]
# Whether the run's method leaves an asset out: such an asset is never requested, and nothing waits for it.
Unused = Callable[[str], bool]


def refresh(
    gate: Gate = lambda _asset, _partition: True,
    busy: Busy = lambda: False,
    unused: Unused = lambda _asset: False,
) -> dg.AutomationCondition[dg.AssetKey]:
    """Make again what is behind, once, when all that it is made from is as it will be.

    *Behind* is what Dagster's UI calls unsynced: the asset was made from other versions of its inputs than there are
    now, by another code version, or from other inputs. Versions go by content, so what was made again and came out the
    same sets nothing in motion. What was never made is not begun here: a person decides what a home holds.

    *As it will be*: no ancestor, however far up, is behind itself or being made. Dagster's `eager()` looks at direct
    inputs alone; between the new interactions and the pictures they want, it would split and train on the old ledger,
    and once more on the new one. So a stage waits while a stage far above it fails, or waits for data (`gate`).

    *Once*: what was asked for from the same versions and the same code is not asked for again; after a failure it is
    the input, the code, or the next night (03:00 UTC) that gives it another try. `eager()` with `execution_failed()`
    asks for ever. No stage begins while a blocking check of an input runs, or has failed, nor while somebody is `busy`.
    """
    condition = dg.AutomationCondition
    unchecked = condition.any_deps_match(
        condition.any_checks_match(condition.check_failed() | condition.in_progress(), blocking_only=True)
    ).with_label("an input's blocking check runs or has failed")
    again = (Behind(gate, busy, unused) & condition.cron_tick_passed(NIGHT)).with_label("behind, and a new night")
    due = (Untried(gate, busy, unused) | again).with_label("due")
    return (due & ~condition.in_progress() & ~unchecked).with_label("refresh")


def automated(assets: Iterable[Any], condition: dg.AutomationCondition) -> list[Any]:
    """The assets, those that can be made under this condition; what is only observed stays as it is."""

    def with_condition(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.replace_attributes(automation_condition=condition)

    made = [asset for asset in assets if isinstance(asset, dg.AssetsDefinition) and asset.is_materializable]
    others = [asset for asset in assets if asset not in made]
    return [*others, *dg.map_asset_specs(with_condition, made)]


class Behind(dg.AutomationCondition[dg.AssetKey]):
    """True for the partitions that are behind, with nothing above them that is behind or being made."""

    def __init__(self, gate: Gate, busy: Busy, unused: Unused) -> None:
        self.gate, self.busy, self.unused = gate, busy, unused

    @property
    def name(self) -> str:
        """What the UI calls it."""
        return "behind"

    @property
    def description(self) -> str:
        """What the UI says of it."""
        return "Made from other versions or by other code than now; everything above is settled"

    # Dagster awaits an evaluate that is a coroutine, as its own conditions' are; its base class does not say so.
    async def evaluate(  # ty: ignore[incompatible-method-override]
        self, context: dg.AutomationContext[dg.AssetKey]
    ) -> dg.AutomationResult[dg.AssetKey]:
        """The partitions that are."""
        return dg.AutomationResult(context, _subset(context, await self.ready(context)))

    async def ready(self, context: dg.AutomationContext[dg.AssetKey]) -> set[AssetKeyPartitionKey]:
        """The partitions that are behind and whose turn it is."""
        if self.busy() or self.unused(context.key.to_user_string()):
            return set()
        versions = Versions.of(context.asset_graph_view, self.unused)
        whole = context.asset_graph_view.get_full_subset(key=context.key)
        return {at for at in whole.expensively_compute_asset_partitions() if await versions.turn(at, self.gate)}


class Untried(Behind):
    """As Behind, without what was last asked for from the same versions and code: that has failed, or is running."""

    @property
    def name(self) -> str:
        """What the UI calls it."""
        return "behind_and_untried"

    async def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        """The partitions that are. The cursor holds, by partition, what was tried and what is offered now."""
        state = json.loads(context.cursor) if context.cursor else {"tried": {}, "offered": {}}
        asked = context.get_previous_requested_subset(context.key)
        for partition in _partitions(asked):
            if partition in state["offered"]:
                state["tried"][partition] = state["offered"][partition]
        versions = Versions.of(context.asset_graph_view, self.unused)
        ready = {str(at.partition_key): at for at in await self.ready(context)}
        made_from = {partition: versions.fingerprint(at) for partition, at in ready.items()}
        offered = {p: version for p, version in sorted(made_from.items()) if version != state["tried"].get(p)}
        cursor = json.dumps({"tried": state["tried"], "offered": offered}, sort_keys=True)
        return dg.AutomationResult(context, _subset(context, {ready[p] for p in offered}), cursor=cursor)


class Versions:
    """What is behind and what is settled in one evaluation, by Dagster's own account of versions.

    That account, CachingStaleStatusResolver, is what the UI shows as unsynced. Dagster does not export it; a home-made
    one would have to agree with it word for word.
    """

    _latest: "Versions | None" = None

    @classmethod
    def of(cls, view: AssetGraphView, unused: Unused) -> "Versions":
        """One for all assets of an evaluation, so that each version is looked up once."""
        if cls._latest is None or cls._latest._view is not view:
            cls._latest = cls(view, unused)
        return cls._latest

    def __init__(self, view: AssetGraphView, unused: Unused) -> None:
        self._view, self._unused = view, unused
        self._resolver = CachingStaleStatusResolver(
            view.instance, view.asset_graph, view, view.get_inner_queryer_for_back_compat()
        )
        self._settled: dict[AssetKeyPartitionKey, bool] = {}

    async def turn(self, at: AssetKeyPartitionKey, gate: Gate) -> bool:
        """Whether it is behind, everything above it is settled, and the gate does not hold it back."""
        if self._status(at) is not StaleStatus.STALE:
            return False
        for parent in self._parents(at):
            if not await self._is_settled(parent):
                return False
        causes = self._resolver.get_stale_causes(at.asset_key, at.partition_key)
        data_alone = all(cause.category is StaleCauseCategory.DATA for cause in causes)
        return not data_alone or gate(at.asset_key.to_user_string(), at.partition_key)

    def fingerprint(self, at: AssetKeyPartitionKey) -> str:
        """What it would be made from now: its code version and the versions of its inputs."""
        versions = {
            f"{parent.asset_key.to_user_string()}|{parent.partition_key}": self._resolver.get_current_data_version(
                parent.asset_key, parent.partition_key
            ).value
            for parent in self._parents(at)
        }
        code = self._view.asset_graph.get(at.asset_key).code_version
        return hashlib.sha256(json.dumps([code, versions], sort_keys=True).encode()).hexdigest()[:16]

    def _status(self, at: AssetKeyPartitionKey) -> StaleStatus:
        return self._resolver.get_status(at.asset_key, at.partition_key)

    def _parents(self, at: AssetKeyPartitionKey) -> list[AssetKeyPartitionKey]:
        subset = self._view.get_asset_subset_from_asset_partitions(at.asset_key, {at})
        return [
            parent
            for key in sorted(self._view.asset_graph.get(at.asset_key).parent_keys)
            if not self._unused(key.to_user_string())
            for parent in sorted(subset.compute_parent_subset(key).expensively_compute_asset_partitions())
        ]

    async def _is_settled(self, at: AssetKeyPartitionKey) -> bool:
        """Neither it nor anything above it is behind or being made; what was never made will not come by itself."""
        if at not in self._settled:
            running = await self._view.compute_run_in_progress_subset(
                key=at.asset_key, from_subset=self._view.get_full_subset(key=at.asset_key)
            )
            settled = self._status(at) is not StaleStatus.STALE
            settled = settled and at not in running.expensively_compute_asset_partitions()
            for parent in self._parents(at) if settled else ():
                settled = settled and await self._is_settled(parent)
            self._settled[at] = settled
        return self._settled[at]


def _subset(context: dg.AutomationContext, found: set[AssetKeyPartitionKey]) -> EntitySubset[dg.AssetKey]:
    """`found`, of what the evaluation asks about."""
    subset = context.asset_graph_view.get_asset_subset_from_asset_partitions(context.key, found)
    return context.candidate_subset.compute_intersection(subset)


def _partitions(subset: EntitySubset | None) -> set[str]:
    """The partition keys of a subset as text; `None` for an asset without partitions."""
    return {str(at.partition_key) for at in subset.expensively_compute_asset_partitions()} if subset else set()
