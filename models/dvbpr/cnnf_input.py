"""Which pictures CNN-F takes and what its convolutions leave of them, in numbers: no network is needed to know it.

The settings check themselves by this (`dvbpr_settings.py`); the network itself is `cnnf.py`.
"""

import math
from typing import Literal

# Pillow's names; K17's Pillow defaulted to nearest, today's to bicubic (REFERENCE, section 2).
RESIZE_FILTERS = ("bicubic", "bilinear", "nearest")

Padding = Literal["same", "valid"]
PADDINGS: tuple[Padding, ...] = ("same", "valid")

FIRST_KERNEL, FIRST_STRIDE = 11, 4
# Three floor poolings leave at least one pixel from here on: ((39 - 11) / 4 + 1) / 2 / 2 / 2 = 1.
SMALLEST: dict[Padding, int] = {"same": FIRST_KERNEL, "valid": 39}


def feature_size(input_size: int, padding: Padding) -> int:
    """Side of conv5's pooled maps for pictures of `input_size`; ValueError when nothing would be left of them."""
    if padding not in PADDINGS:
        raise ValueError(f"padding={padding!r} is unknown; give one of {', '.join(PADDINGS)}")
    if input_size < SMALLEST[padding]:
        mend = ", or padding 'same'" if input_size >= SMALLEST["same"] else ""
        raise ValueError(
            f"input_size={input_size} is too small for CNN-F with padding {padding!r}; "
            f"give at least {SMALLEST[padding]}{mend}"
        )
    if padding == "valid":
        return ((input_size - FIRST_KERNEL) // FIRST_STRIDE + 1) // 8
    return math.ceil(math.ceil(input_size / FIRST_STRIDE) / 8)
