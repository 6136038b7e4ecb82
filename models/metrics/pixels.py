"""Measures of pictures that need no network: principal components of raw pixels, and the spectrum of brightness."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

SIZE = 64  # side in pixels at which components are fitted; other pictures are resized to it
COMPONENTS = 64
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_DARKEST = 1e-6  # added to a power before its logarithm: a plain picture has none; a grey level has about 1.5e-5


@dataclass(frozen=True)
class PixelComponents:
    """Principal components of pictures; made by `fit`."""

    mean: np.ndarray  # [D], of the pixels
    axes: np.ndarray  # [D, k], orthonormal, the widest first
    scale: float  # standard deviation of the fitted pictures' coordinates, over all components

    @classmethod
    def fit(cls, pictures: np.ndarray, components: int = COMPONENTS) -> "PixelComponents":
        """Fit to pictures uint8 [n, H, W, 3]: min(components, n - 1) components. ValueError for fewer than two."""
        if len(pictures) < 2:
            raise ValueError(f"principal components need at least two pictures; there are {len(pictures)}")
        rows = shrunk(pictures, SIZE)
        mean = rows.mean(axis=0)
        _, _, axes = np.linalg.svd(rows - mean, full_matrices=False)
        axes = axes[: min(components, len(pictures) - 1)].T
        return cls(mean, axes, max(float(((rows - mean) @ axes).std()), 1e-6))

    def transform(self, pictures: np.ndarray) -> np.ndarray:
        """Compute coordinates of pictures uint8 [n, H, W, 3]: float32 [n, k].

        All components share one scale, so distances between coordinates are proportional to distances between the
        pictures as the components show them. Components scaled one by one would weigh the last ones, which fit the
        noise of the few pictures, like the first.
        """
        return (((shrunk(pictures, SIZE) - self.mean) @ self.axes) / self.scale).astype(np.float32)


def shrunk(pictures: np.ndarray, size: int) -> np.ndarray:
    """Resize pictures uint8 [n, H, W, 3] to size x size by averaging: float32 [n, 3 * size * size]."""
    x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float()
    if x.shape[2:] != (size, size):
        x = F.interpolate(x, (size, size), mode="area")
    return x.flatten(1).numpy()


def radial_power(pictures: np.ndarray) -> np.ndarray:
    """Compute the power of brightness at each spatial frequency of pictures uint8 [n, S, S, 3]: float64 [n, S // 2].

    Column f - 1 is the mean power over all directions at f cycles a picture, from 1 to S // 2. Brightness lies on
    [0, 1], less its mean, under a Hann window so that opposite edges of a picture do not count as an edge.
    """
    size = pictures.shape[1]
    assert pictures.shape[2] == size, pictures.shape
    bright = pictures.astype(np.float64) @ np.array(_LUMA) / 255
    window = np.outer(*[np.hanning(size + 2)[1:-1]] * 2)
    bright = (bright - bright.mean(axis=(1, 2), keepdims=True)) * window
    power = np.square(np.abs(np.fft.fft2(bright))) / size**2
    across = np.fft.fftfreq(size, 1 / size)
    radius = np.rint(np.hypot(across[:, None], across)).astype(int)
    return np.stack([power[:, radius == f].mean(axis=1) for f in range(1, size // 2 + 1)], axis=1)


def spectrum_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Compare the mean spectra of two sets by their `radial_power` [n, F] and [m, F]: mean |log10 ratio| over F.

    0.3 means that power differs by a factor of two at a typical frequency: blur, a lattice, or noise.
    """
    assert a.shape[1] == b.shape[1], (a.shape, b.shape)
    one, other = (np.log10(power.mean(axis=0) + _DARKEST) for power in (a, b))
    return float(np.abs(one - other).mean())
