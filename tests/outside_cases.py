"""Names of modules before they moved into rooms, for reproductions of faults that were written against them.

Importing this puts every old name into `sys.modules` on demand; nothing else in the project uses old names.
"""

import importlib
import importlib.abc
import importlib.machinery
import sys
from types import ModuleType

from pipeline.core import errors
from pipeline.core.images import image_validator
from pipeline.home import command_lock

MOVED = {
    "pipeline.generator": "pipeline.designs",
    "pipeline.scale": "pipeline.multi_gpu",
    "pipeline.champions.registry": "pipeline.champions.model_registry",
    "pipeline.champions.shelf": "pipeline.champions.served_model",
    "pipeline.command": "pipeline.runtime.exits",
    "pipeline.comparison": "pipeline.views.comparison",
    "pipeline.config": "pipeline.settings.launchpad",
    "pipeline.core.dealt": "pipeline.core.partition",
    "pipeline.core.images.judge": "pipeline.core.images.image_validator",
    "pipeline.core.meanings": "pipeline.core.column_docs",
    "pipeline.depot": "pipeline.mirror",
    "pipeline.depot.courier": "pipeline.mirror.background_sync",
    "pipeline.depot.store": "pipeline.mirror.store",
    "pipeline.depot.sync": "pipeline.mirror.sync",
    "pipeline.environment": "pipeline.home.environment",
    "pipeline.erase.scrub": "pipeline.erase.redact",
    "pipeline.failures": "pipeline.runtime.failures",
    "pipeline.generator.design_shards": "pipeline.designs.shards",
    "pipeline.generator.design_tables": "pipeline.designs.tables",
    "pipeline.generator.design_tradeoff": "pipeline.designs.tradeoff",
    "pipeline.generator.designs": "pipeline.designs.designs",
    "pipeline.generator.figures": "pipeline.core.generator.figures",
    "pipeline.generator.generation": "pipeline.core.generator.generation",
    "pipeline.generator.measure": "pipeline.core.generator.measure",
    "pipeline.generator.source_comparison": "pipeline.study.generator_sources",
    "pipeline.generator.study": "pipeline.study.generator_presets",
    "pipeline.home.at_work": "pipeline.home.command_lock",
    "pipeline.instance": "pipeline.home.instance",
    "pipeline.io_managers": "pipeline.home.io_managers",
    "pipeline.jobs": "pipeline.upkeep.jobs",
    "pipeline.lookbook.home": "pipeline.views.home_contents",
    "pipeline.lookbook.shelf": "pipeline.lookbook.product_cards",
    "pipeline.method": "pipeline.settings.method",
    "pipeline.partitions": "pipeline.home.partitions",
    "pipeline.plan": "pipeline.runtime.plan",
    "pipeline.profiles": "pipeline.settings.profiles",
    "pipeline.progress": "pipeline.runtime.progress",
    "pipeline.provenance": "pipeline.runtime.provenance",
    "pipeline.reference": "pipeline.cli.reference",
    "pipeline.resources": "pipeline.runtime.resources",
    "pipeline.sample_source": "pipeline.sample.source",
    "pipeline.scale.capacity": "pipeline.cli.capacity",
    "pipeline.scale.engine": "pipeline.core.engine",
    "pipeline.scale.rank_worker": "pipeline.multi_gpu.worker",
    "pipeline.scale.ranked": "pipeline.multi_gpu.launch",
    "pipeline.servers.leash": "pipeline.cli.servers.supervisor",
    "pipeline.storage": "pipeline.home.storage",
    "pipeline.summary": "pipeline.runtime.summary",
    "pipeline.terminal": "pipeline.runtime.terminal",
    "pipeline.tracking": "pipeline.runtime.tracking",
    "pipeline.upkeep.readings": "pipeline.upkeep.drop_outcome",
    "pipeline.upkeep.terminal_run": "pipeline.home.command_lock",
    "pipeline.upkeep.tracked_ends": "pipeline.upkeep.mlflow_records",
    "pipeline.upkeep.warm_start": "pipeline.recommenders.warm_start",
    "pipeline.views.steps": "pipeline.views.filter_counts",
}


class _Moved(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a moved module under its old name."""

    def find_spec(self, fullname: str, path: object, target: ModuleType | None = None):
        return importlib.machinery.ModuleSpec(fullname, self) if fullname in MOVED else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return importlib.import_module(MOVED[spec.name])

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: it was executed under its new name."""


sys.meta_path.insert(0, _Moved())
# Old modules whose names are rooms or entry points now keep their contents beside what is there.
for old, new in {
    "pipeline.run": "pipeline.cli.run",
    "pipeline.ui": "pipeline.cli.ui",
    "pipeline.settings": "pipeline.settings.assets",
}.items():
    here = vars(importlib.import_module(old))
    here.update({name: value for name, value in vars(importlib.import_module(new)).items() if name not in here})
# Old names of what is in another module now, or has another name.
for module, names in {
    "pipeline.core.raw.sources": {"BadInput": errors.InputError, "OutOfReach": errors.UnreachableError},
    "pipeline.core.parquet": {"Damaged": errors.DamagedFileError},
    "pipeline.home.command_lock": {"at_work": command_lock.hold, "is_at_work": command_lock.is_held},
    "pipeline.home.io_managers": {"TableMissing": errors.TableMissingError},
    "pipeline.core.images.image_validator": {"Judge": image_validator.ImageValidator},
}.items():
    vars(importlib.import_module(module)).update(names)
_RENAMED = {
    "pipeline.champions.model_registry": {"Version": "RegisteredVersion"},
    "pipeline.champions.served_model": {"Shelf": "ServedModel", "Shop": "TrainingShop"},
    "pipeline.erase.erase": {"reach": "find_scope", "Reach": "ErasureScope", "left": "remaining"},
    "pipeline.erase.redact": {"scrub": "redact", "scrub_logs": "redact_logs", "GONE": "REDACTED"},
    "pipeline.erase.rewrite": {"Wanted": "Removal"},
    "pipeline.erase.spelling": {"Spelled": "NameMatcher"},
    "pipeline.mirror.background_sync": {"in_step": "synchronised"},
    "pipeline.mirror.store": {"Seen": "FileStat", "Stored": "StoredFile"},
    "pipeline.mirror.sync": {"Moved": "SyncResult"},
    "pipeline.upkeep.drops": {"End": "DropStatus", "Step": "DropStep"},
    "pipeline.upkeep.workers": {"Life": "Liveness", "life": "liveness"},
}
for module, names in _RENAMED.items():
    here = vars(importlib.import_module(module))
    here.update({old: here[new] for old, new in names.items()})
image_validator.ImageValidator.verdict = image_validator.ImageValidator.validate  # ty: ignore[unresolved-attribute]
