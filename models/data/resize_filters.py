"""The resize filters that trainers know, by Pillow's names. Settings check their values against these without torch."""

# K17's Pillow defaulted to nearest, today's to bicubic (REFERENCE, section 2).
RESIZE_FILTERS = ("bicubic", "bilinear", "nearest")
