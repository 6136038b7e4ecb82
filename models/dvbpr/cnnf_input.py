"""Input sizes that CNN-F accepts, and the size of its feature maps. Settings check against this without torch."""

import math
from typing import Literal

Padding = Literal["same", "valid"]
PADDINGS: tuple[Padding, ...] = ("same", "valid")

FIRST_KERNEL, FIRST_STRIDE = 11, 4
# With "valid", 39 px is the smallest size that leaves a pixel after conv1 and 3 poolings: ((39 - 11) / 4 + 1) / 8 = 1.
SMALLEST: dict[Padding, int] = {"same": FIRST_KERNEL, "valid": 39}


def feature_size(input_size: int, padding: Padding) -> int:
    """Compute the side of conv5's pooled maps for pictures of `input_size`; ValueError if it would be 0."""
    if padding not in PADDINGS:
        raise ValueError(f"padding={padding!r} is unknown; give one of {', '.join(PADDINGS)}")
    if input_size < SMALLEST[padding]:
        alternative = ", or padding 'same'" if input_size >= SMALLEST["same"] else ""
        raise ValueError(
            f"input_size={input_size} is too small for CNN-F with padding {padding!r}; "
            f"give at least {SMALLEST[padding]}{alternative}"
        )
    if padding == "valid":
        return ((input_size - FIRST_KERNEL) // FIRST_STRIDE + 1) // 8
    return math.ceil(math.ceil(input_size / FIRST_STRIDE) / 8)
