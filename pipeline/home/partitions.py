"""The only partitioning: the image mode, which decides the pictures that represent an item.

Recommender assets have it; ingest, pictures and the generator do not.
"""

import dagster as dg

from pipeline.core.schemas import IMAGE_MODES

image_modes = dg.StaticPartitionsDefinition(list(IMAGE_MODES))
