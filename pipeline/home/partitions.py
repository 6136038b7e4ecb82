"""The one partitioning of Atelier: the image mode, that is, which pictures an item is known by.

Recommender assets carry it; ingest, pictures and the generator do not.
"""

import dagster as dg

from pipeline.core.schemas import IMAGE_MODES

image_modes = dg.StaticPartitionsDefinition(list(IMAGE_MODES))
