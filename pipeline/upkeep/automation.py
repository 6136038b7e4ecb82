"""The automation condition by which Dagster makes an asset again, and why none of Dagster's own would do.

It finds the (asset, partition) pairs that are behind and whether they may be made now.
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
# (asset, partition) -> whether it may be made again when only its input data changed.
Gate = Callable[[str, str | None], bool]
# Whether a run from the terminal is making assets; nothing is requested meanwhile.
Busy = Callable[[], bool]
# Whether the method leaves an asset out; it is never requested, and nothing waits for it.
Unused = Callable[[str], bool]


def refresh(
    gate: Gate = lambda _asset, _partition: True,
    busy: Busy = lambda: False,
    unused: Unused = lambda _asset: False,
) -> dg.AutomationCondition[dg.AssetKey]:
    """Request each asset that is behind, once, when all of its ancestors are settled.

    *Behind* is what Dagster's UI calls unsynced: the asset was made from other input versions, by another code version
    or from other inputs than now. Versions are digests of content, so an input that is made again with equal content
    triggers nothing. An asset that was never made is not requested: a person decides what a home holds.

    *Settled* means that no ancestor, however distant, is behind or being made. Dagster's `eager()` checks only direct
    inputs: between new interactions and the fetch of their pictures it would split and train on the old ledger, and
    then again on the new one. So a stage waits while a distant ancestor fails or is held back by `gate`.

    *Once* means that an asset is not requested again for the same input versions and code. A failed asset is retried
    when an input or the code changes, or the next night (03:00 UTC). `eager()` with `execution_failed()` retries for
    ever. No stage starts while a blocking check of an input runs or has failed, or while the home is `busy`.
    """
    condition = dg.AutomationCondition
    unchecked = condition.any_deps_match(
        condition.any_checks_match(condition.check_failed() | condition.in_progress(), blocking_only=True)
    ).with_label("an input's blocking check runs or has failed")
    again = (Behind(gate, busy, unused) & condition.cron_tick_passed(NIGHT)).with_label("behind, and a new night")
    due = (Untried(gate, busy, unused) | again).with_label("due")
    return (due & ~condition.in_progress() & ~unchecked).with_label("refresh")


def automated(assets: Iterable[Any], condition: dg.AutomationCondition) -> list[Any]:
    """Set the condition on every asset that can be materialised; leave observable sources as they are."""

    def with_condition(spec: dg.AssetSpec) -> dg.AssetSpec:
        return spec.replace_attributes(automation_condition=condition)

    made = [asset for asset in assets if isinstance(asset, dg.AssetsDefinition) and asset.is_materializable]
    others = [asset for asset in assets if asset not in made]
    return [*others, *dg.map_asset_specs(with_condition, made)]


class Behind(dg.AutomationCondition[dg.AssetKey]):
    """Selects the partitions that are behind and whose ancestors are all settled."""

    def __init__(self, gate: Gate, busy: Busy, unused: Unused) -> None:
        self.gate, self.busy, self.unused = gate, busy, unused

    @property
    def name(self) -> str:
        """The condition's name in the UI."""
        return "behind"

    @property
    def description(self) -> str:
        """The condition's description in the UI."""
        return "Made from other versions or by other code than now; all ancestors are settled"

    # Dagster also accepts a coroutine, as in its own conditions, but the base class does not declare that.
    async def evaluate(  # ty: ignore[incompatible-method-override]
        self, context: dg.AutomationContext[dg.AssetKey]
    ) -> dg.AutomationResult[dg.AssetKey]:
        """Select the ready partitions."""
        return dg.AutomationResult(context, _subset(context, await self.ready(context)))

    async def ready(self, context: dg.AutomationContext[dg.AssetKey]) -> set[AssetKeyPartitionKey]:
        """Find the partitions that are behind and may be made now."""
        if self.busy() or self.unused(context.key.to_user_string()):
            return set()
        versions = Versions.of(context.asset_graph_view, self.unused)
        whole = context.asset_graph_view.get_full_subset(key=context.key)
        return {at for at in whole.expensively_compute_asset_partitions() if await versions.is_ready(at, self.gate)}


class Untried(Behind):
    """Like Behind, without partitions already requested for the same versions and code: they failed or are running."""

    @property
    def name(self) -> str:
        """The condition's name in the UI."""
        return "behind_and_untried"

    async def evaluate(self, context: dg.AutomationContext[dg.AssetKey]) -> dg.AutomationResult[dg.AssetKey]:
        """Select the untried partitions. The cursor holds the fingerprints tried and offered, by partition."""
        state = json.loads(context.cursor) if context.cursor else {"tried": {}, "offered": {}}
        requested = context.get_previous_requested_subset(context.key)
        for partition in _partitions(requested):
            if partition in state["offered"]:
                state["tried"][partition] = state["offered"][partition]
        versions = Versions.of(context.asset_graph_view, self.unused)
        ready = {str(at.partition_key): at for at in await self.ready(context)}
        fingerprints = {partition: versions.fingerprint(at) for partition, at in ready.items()}
        offered = {p: found for p, found in sorted(fingerprints.items()) if found != state["tried"].get(p)}
        cursor = json.dumps({"tried": state["tried"], "offered": offered}, sort_keys=True)
        return dg.AutomationResult(context, _subset(context, {ready[p] for p in offered}), cursor=cursor)


class Versions:
    """Dagster's data versions in one evaluation: which partitions are behind, and which are settled.

    CachingStaleStatusResolver decides what the UI shows as unsynced. Dagster does not export it, but a reimplementation
    would have to agree with it exactly.
    """

    _latest: "Versions | None" = None

    @classmethod
    def of(cls, view: AssetGraphView, unused: Unused) -> "Versions":
        """Return the evaluation's shared instance, which looks each version up once."""
        if cls._latest is None or cls._latest._view is not view:
            cls._latest = cls(view, unused)
        return cls._latest

    def __init__(self, view: AssetGraphView, unused: Unused) -> None:
        self._view, self._unused = view, unused
        self._resolver = CachingStaleStatusResolver(
            view.instance, view.asset_graph, view, view.get_inner_queryer_for_back_compat()
        )
        self._settled: dict[AssetKeyPartitionKey, bool] = {}

    async def is_ready(self, at: AssetKeyPartitionKey, gate: Gate) -> bool:
        """Return whether a partition is behind, its ancestors are settled and the gate is open for it."""
        if self._status(at) is not StaleStatus.STALE:
            return False
        for parent in self._parents(at):
            if not await self._is_settled(parent):
                return False
        causes = self._resolver.get_stale_causes(at.asset_key, at.partition_key)
        only_data = all(cause.category is StaleCauseCategory.DATA for cause in causes)
        return not only_data or gate(at.asset_key.to_user_string(), at.partition_key)

    def fingerprint(self, at: AssetKeyPartitionKey) -> str:
        """Digest what the partition would be made from now: its code version and its inputs' versions."""
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
        """Return whether neither it nor an ancestor is behind or being made. A missing asset counts as settled."""
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
    """Restrict `found` to the evaluation's candidates."""
    subset = context.asset_graph_view.get_asset_subset_from_asset_partitions(context.key, found)
    return context.candidate_subset.compute_intersection(subset)


def _partitions(subset: EntitySubset | None) -> set[str]:
    """List the partition keys of a subset as text; the text `None` for an asset without partitions."""
    return {str(at.partition_key) for at in subset.expensively_compute_asset_partitions()} if subset else set()
