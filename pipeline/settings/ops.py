"""The table of ops: which settings classes each op reads.

The launchpad (`launchpad.py`), profiles, the check of a run's settings (`method.py`) and docs/reference.md read it.
An op that is not listed has no settings.
"""

from models.baselines.settings import BprSettings
from models.design.settings import DesignSettings
from models.dvbpr.settings import DvbprSettings
from models.lsgan.settings import LsganSettings
from models.modern.settings import ModernSettings
from pipeline.core.dataset.triplets import TripletSettings
from pipeline.core.generator.irrelevant import RelevanceSettings
from pipeline.core.generator.metric_settings import GenerationMetricSettings
from pipeline.core.images.near_duplicates import NearDuplicateSettings
from pipeline.core.images.transfer import FetchSettings
from pipeline.core.text_features import FactSettings
from pipeline.settings.assets import (
    BankSettings,
    ChampionSettings,
    DesignTargetSettings,
    DesignTradeoffSettings,
    EvaluationSettings,
    FeatureSettings,
    FiveCoreSettings,
    GarmentSettings,
    GeneratorChampionSettings,
    ImageUrlSettings,
    IngestSettings,
    LedgerSettings,
    LookbookSettings,
    LossSettings,
    RecommendationSettings,
    RefreshSettings,
    SplitSettings,
)

OPS: dict[str, tuple[type, ...]] = {
    "ingest": (IngestSettings,),
    "five_core": (FiveCoreSettings,),
    "image_urls": (ImageUrlSettings,),
    "image_ledger": (FetchSettings, LedgerSettings),
    "image_bank": (BankSettings,),
    "near_duplicates": (NearDuplicateSettings,),
    "image_features": (FeatureSettings,),
    "item_facts": (FactSettings,),
    "splits": (SplitSettings, LossSettings),
    "triplets": (TripletSettings,),
    "dvbpr": (DvbprSettings, RefreshSettings),
    "modern": (ModernSettings, RefreshSettings),
    "baselines": (BprSettings,),
    "recommender_evaluation": (EvaluationSettings,),
    "recommender_comparison": (EvaluationSettings,),
    "recommender_champion": (ChampionSettings,),
    "recommendations": (RecommendationSettings,),
    "garments": (GarmentSettings, RelevanceSettings),
    "lsgan": (LsganSettings,),
    "generator_evaluation": (GenerationMetricSettings,),
    "generator_champion": (GeneratorChampionSettings,),
    "personal_designs": (DesignSettings, DesignTargetSettings),
    "restyled_products": (DesignSettings, DesignTargetSettings),
    "designs_tradeoff": (DesignTradeoffSettings,),
    "lookbook": (LookbookSettings,),
}
