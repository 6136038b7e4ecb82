"""Batches of a mode's pictures for training: gathered by image number, resized, normalised, on the device.

Pictures are already decoded in the bank; nothing here opens a JPEG.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.data.resize_filters import RESIZE_FILTERS
from models.training import device as devices

_CHUNK = 512  # pictures resized or copied at a time


class Pictures:
    """The pictures of a mode, served as batches of uint8 [B, S, S, 3] on `device`.

    If the bank's pictures are larger than `size`, they are shrunk once at the start rather than in every step. The
    pictures are kept on the device if they fit there. Otherwise they stay where they are, and a thread gathers
    batches one step ahead and copies them from pinned memory. `note` describes which of these happened.
    """

    def __init__(
        self,
        bank: np.ndarray,  # uint8 [rows, H, H, 3], an array or a memory map
        bank_row: np.ndarray,  # [images], row of the bank
        size: int,
        device: torch.device,
        *,
        resize_filter: str = "bicubic",
        share: float = 0.5,  # of the device's free memory that the pictures may use
    ) -> None:
        check_bank(bank, bank_row)
        if resize_filter not in RESIZE_FILTERS:
            raise ValueError(f"resize_filter={resize_filter!r} is unknown; give one of {', '.join(RESIZE_FILTERS)}")
        self.size, self.device, self.resize_filter = size, device, resize_filter
        self._bank, self._rows = bank, np.asarray(bank_row, np.int64)
        stored = min(size, bank.shape[1])
        nbytes = len(self._rows) * stored * stored * 3
        # A CPU reads the memory map in place, so a copy is kept only if the pictures are shrunk.
        self.resident = devices.fits(nbytes, device, share)
        shrink = stored < bank.shape[1]
        self._tensor: Tensor | None = None  # uint8 [images, stored, stored, 3]
        if self.resident or shrink:
            place = device if self.resident else torch.device("cpu")
            self._tensor = self._copy(stored, place)
        where = f"on {devices.describe(device)}" if self.resident else "in memory" if shrink else "memory-mapped"
        note = f"{len(self._rows):,} pictures at {stored} px {where} ({nbytes / 1e9:.2f} GB)"
        if shrink:
            note += f", shrunk once from {bank.shape[1]} px ({resize_filter})"
        if stored < size:
            note += f", enlarged to {size} px in every batch ({resize_filter})"
        if device.type == "cuda" and not self.resident:
            note += "; they do not fit on the GPU, so batches are copied from pinned memory"
        self.note = note

    def __len__(self) -> int:
        return len(self._rows)

    def batches(self, images: Tensor | np.ndarray, batch: int | list[int]) -> Iterator[Tensor]:
        """Yield the pictures of image numbers `images` [n] or [n, m], `batch` rows at a time: uint8 [b * m, S, S, 3].

        A list gives the number of rows of each batch; the numbers may be 0 and add up to n.
        """
        if self.resident:
            for index in torch.as_tensor(images, dtype=torch.int64).to(self.device).split(batch):
                assert self._tensor is not None
                yield self._sized(self._tensor.index_select(0, index.reshape(-1)))
            return
        images = np.asarray(images)
        sizes = batch if isinstance(batch, list) else [batch] * -(-len(images) // batch)
        chunks = [part.reshape(-1) for part in np.split(images, np.cumsum(sizes)[:-1])] if sizes else []
        if self.device.type == "cpu":
            for chunk in chunks:
                yield self._sized(self._gather(chunk))
            return
        with ThreadPoolExecutor(1) as ahead:
            pending = [ahead.submit(self._pinned, chunk) for chunk in chunks[:1]]
            for following in [*chunks[1:], None]:
                pixels = pending.pop().result()
                if following is not None:
                    pending.append(ahead.submit(self._pinned, following))
                yield self._sized(pixels.to(self.device, non_blocking=True))

    def _gather(self, images: np.ndarray) -> Tensor:
        if self._tensor is not None:
            return self._tensor.index_select(0, torch.as_tensor(images, dtype=torch.int64))
        return torch.from_numpy(self._bank[self._rows[images]])

    def _pinned(self, images: np.ndarray) -> Tensor:
        pixels = self._gather(images)
        return pixels.pin_memory() if self.device.type == "cuda" else pixels

    def _sized(self, pixels: Tensor) -> Tensor:
        return resize(pixels, self.size, self.resize_filter)

    def _copy(self, size: int, place: torch.device) -> Tensor:
        copy = torch.empty((len(self._rows), size, size, 3), dtype=torch.uint8, device=place)
        for start in range(0, len(self._rows), _CHUNK):
            chunk = torch.from_numpy(self._bank[self._rows[start : start + _CHUNK]]).to(self.device)
            copy[start : start + _CHUNK] = resize(chunk, size, self.resize_filter).to(place)
        return copy


def resize(pixels: Tensor, size: int, resize_filter: str) -> Tensor:
    """Resize uint8 [B, H, W, 3] to [B, size, size, 3] with the Pillow filter of that name, without cropping.

    As in Pillow, columns are resized first, then rows, with rounding and clipping to whole grey levels after each. The
    result equals Pillow's within one level (exactly, for nearest).
    """
    if pixels.shape[1:3] == (size, size):
        return pixels
    if not len(pixels):
        return pixels.new_empty(0, size, size, 3)
    pictures = pixels.permute(0, 3, 1, 2).float()
    for shape in ((pixels.shape[1], size), (size, size)):
        if resize_filter == "nearest":
            pictures = F.interpolate(pictures, shape, mode="nearest-exact")
        else:
            pictures = F.interpolate(pictures, shape, mode=resize_filter, antialias=True, align_corners=False)
            pictures = pictures.round_().clamp_(0, 255)
    return pictures.to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def normalise(pixels: Tensor) -> Tensor:
    """Normalise uint8 [B, S, S, 3] to float32 [B, 3, S, S] in [-1, 1]: (x - 127.5) / 127.5 (K17's code).

    The result keeps the bank's memory order, which is torch's channels_last.
    """
    return pixels.permute(0, 3, 1, 2).float().sub_(127.5).div_(127.5)


def to_pixels(pictures: Tensor) -> Tensor:
    """Convert [B, 3, H, W] in [-1, 1] to uint8 [B, H, W, 3], rounded to the nearest grey level."""
    return pictures.float().add(1).mul(127.5).round().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def squashed(pixels: Tensor, size: int) -> Tensor:
    """Resize uint8 [B, H, H, 3] to float32 [B, 3, size, size] in [-1, 1], bilinear: the input of frozen features.

    Unlike in `resize`, nothing is rounded, because the result is never shown as a picture. In channels_last order.
    """
    pictures = pixels.permute(0, 3, 1, 2).float()
    if pictures.shape[2:] != (size, size):
        pictures = F.interpolate(pictures, (size, size), mode="bilinear", antialias=True)
    return ((pictures - 127.5) / 127.5).contiguous(memory_format=torch.channels_last)


def check_bank(bank: np.ndarray, bank_row: np.ndarray) -> None:
    """Raise ValueError unless `bank` holds square uint8 RGB pictures and every `bank_row` is a row of it."""
    if bank.dtype != np.uint8 or bank.ndim != 4 or bank.shape[1] != bank.shape[2] or bank.shape[3] != 3:
        raise ValueError(f"the bank is {bank.dtype} {bank.shape}; uint8 [rows, side, side, 3] was expected")
    if len(bank_row) and not (np.min(bank_row) >= 0 and np.max(bank_row) < len(bank)):
        raise ValueError(
            f"bank_row names rows {np.min(bank_row)} to {np.max(bank_row)}, the bank has {len(bank)}: bank and "
            "catalogue do not belong together; materialise image_bank, then catalogue again"
        )
