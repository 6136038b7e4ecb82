"""The resize filters that trainers support, by Pillow's names. Settings check against them without importing torch."""

# The default was nearest in K17's version of Pillow and is bicubic today.
RESIZE_FILTERS = ("bicubic", "bilinear", "nearest")
