"""Read HEIC pictures if the extra `heic` (pillow-heif) is installed; it is imported only when one is decoded."""

import functools
import importlib
import importlib.util

BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"mif1"})  # of still pictures (ISO/IEC 23008-12, annex B)
SEQUENCES = frozenset({b"hevc", b"hevx", b"msf1"})
MEND = "HEIC is with its extra: pip install -e .[heic]"


@functools.cache
def heif_is_read() -> bool:
    """Return whether pillow-heif is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


@functools.cache
def register() -> None:
    """Give Pillow the decoder, in one thread, because several pictures are decoded at once already."""
    pillow_heif = importlib.import_module("pillow_heif")  # an extra, which type checkers may not find
    pillow_heif.register_heif_opener(decode_threads=1, thumbnails=False, depth_images=False, aux_images=False)
