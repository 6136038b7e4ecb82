"""Quality metrics of generated garments: distances between sets of features, agreement with classes, diversity.

Everything works on arrays: features [n, D] from any network (the caller names it, see `protocol`) and pictures uint8
[n, H, W, 3]. Sampling and plots do not belong here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_SSIM_WINDOW, _SSIM_SIGMA = 11, 1.5  # Wang et al. 2004, as are the two constants below
_SSIM_C1, _SSIM_C2 = 0.01**2, 0.03**2  # for pictures on [0, 1]


def protocol(metric: str, features: str, n: int) -> str:
    """Build the name of a measured figure, e.g. `frechet_efflite0_n600`: no two protocols share a name."""
    return "_".join(part for part in (metric, features, f"n{n}") if part)


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Compute the Frechet distance between Gaussians fitted to features [n, D] and [m, D], in float64.

    Heusel et al. 2017: |mean_a - mean_b|^2 + tr(A) + tr(B) - 2 tr((A B)^1/2). With A = P P^T and B = Q Q^T the last
    trace is the sum of the singular values of P^T Q, which is only min(n, D) wide and needs no square root of a
    nearly singular matrix. Biased at small n: compare only equal n, and quote the distance between two sets of real
    pictures beside it.
    """
    a, b = _features(a), _features(b)
    _same_width(a, b)
    p, q = _covariance_factor(a), _covariance_factor(b)  # [r, D]: A = p^T p
    cross = np.linalg.svd(p @ q.T, compute_uv=False).sum()
    mean_gap = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    return float(max(0.0, mean_gap + np.square(p).sum() + np.square(q).sum() - 2 * cross))


def kernel_distance(
    a: np.ndarray, b: np.ndarray, subsets: int = 100, subset_size: int = 100, seed: int = 0
) -> tuple[float, float]:
    """Compute the kernel distance (KID, Binkowski et al. 2018) of features [n, D] and [m, D]: (mean, sd) over subsets.

    The unbiased squared MMD with the kernel (x . y / D + 1)^3, on `subsets` random subsets of `subset_size` rows each,
    or of all rows of the smaller set if it has fewer. Being unbiased, it can be slightly below 0 for two sets of the
    same distribution.
    """
    a, b = _features(a), _features(b)
    _same_width(a, b)
    size = min(subset_size, len(a), len(b))
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(subsets):
        x, y = (features[rng.choice(len(features), size, replace=False)] for features in (a, b))
        xx, yy, xy = (_polynomial_kernel(*pair) for pair in ((x, x), (y, y), (x, y)))
        within = (xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)) / (size * (size - 1))
        values.append(within - 2 * xy.mean())
    return float(np.mean(values)), float(np.std(values))


def distance_differences(real: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Compute how much further `one` is from the reals than `other`, for each of n triples of features [n, D]: [n].

    The mean of the values is the difference of the two unbiased kernel distances, KID(real, one) - KID(real, other),
    on all n rows. Their spread is the first-order (Hajek) term of that difference, so a bootstrap over the values gives
    its interval: the relative similarity test of Bounliphone et al. 2016, with a bootstrap in place of its normal
    approximation. Row i of the three sets forms a triple: sample all three sets with the same classes. Raises
    ValueError if the shapes differ, or for fewer than two rows.
    """
    real, one, other = (_features(features) for features in (real, one, other))
    if not real.shape == one.shape == other.shape or len(real) < 2:
        raise ValueError(f"features are {real.shape}, {one.shape}, {other.shape}; three of one shape were expected")

    def of_each(fake: np.ndarray) -> np.ndarray:
        # h(i, j) of the U-statistic, summed over j != i. k(real, real) cancels in the difference, so it is left out.
        within, across = _polynomial_kernel(fake, fake), _polynomial_kernel(real, fake)
        h = within - across - across.T
        return (h.sum(1) - np.diagonal(h)) / (len(h) - 1)

    each = of_each(one) - of_each(other)
    return 2 * each - each.mean()


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 5) -> dict[str, float]:
    """Compute precision, recall, density and coverage of features [n, D] (real) and [m, D] (fake).

    Precision and recall follow Kynkaanniemi et al. 2019, density and coverage Naeem et al. 2020. The manifold of a set
    is the union of balls around its points, each reaching to the point's k-th neighbour. Raises ValueError for sets of
    k points or fewer.
    """
    real, fake = _features(real), _features(fake)
    _same_width(real, fake)
    if min(len(real), len(fake)) <= k:
        raise ValueError(f"{min(len(real), len(fake))} points are too few for {k} neighbours; give more, or a lower k")
    radius_real, radius_fake = (np.sort(_distances(x, x), axis=1)[:, k] for x in (real, fake))  # column 0: itself
    between = _distances(real, fake)  # [real, fake]
    inside = between <= radius_real[:, None]
    return {
        "precision": float(inside.any(axis=0).mean()),
        "recall": float((between <= radius_fake[None, :]).any(axis=1).mean()),
        "density": float(inside.sum(axis=0).mean() / k),
        "coverage": float((between.min(axis=1) <= radius_real).mean()),
    }


@dataclass(frozen=True)
class ClassClassifier:
    """Multinomial logistic regression on features; predicts which class a generated picture shows."""

    mean: np.ndarray  # [D], mean of the training features
    scale: np.ndarray  # [D], their standard deviation
    weight: np.ndarray  # [D, classes]
    bias: np.ndarray  # [classes]

    @classmethod
    def fit(cls, features: np.ndarray, labels: np.ndarray, classes: int, l2: float = 1e-2) -> "ClassClassifier":
        """Fit on features [n, D] of real pictures held out from the generator's training, labels int [n].

        The problem is convex and L-BFGS starts at 0, so the result is the same each time. Raises ValueError for an
        empty class.
        """
        features = _features(features)
        counts = np.bincount(labels, minlength=classes)
        if len(counts) != classes or (counts == 0).any():
            raise ValueError(f"the classifier needs pictures of each of {classes} classes; counts: {counts.tolist()}")
        mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
        x = torch.from_numpy(((features - mean) / scale).astype(np.float32))
        y = torch.from_numpy(labels.astype(np.int64))
        # Weight every class equally, whatever its count, because agreement is measured class by class.
        importance = torch.from_numpy((len(labels) / (classes * counts)).astype(np.float32))
        weight = torch.zeros(x.shape[1], classes, requires_grad=True)
        bias = torch.zeros(classes, requires_grad=True)
        solver = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            solver.zero_grad()
            loss = F.cross_entropy(x @ weight + bias, y, weight=importance) + l2 * weight.square().sum() / 2
            loss.backward()
            return loss

        solver.step(closure)
        return cls(mean, scale, weight.detach().double().numpy(), bias.detach().double().numpy())

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Predict the likeliest class of features [n, D]: int64 [n]."""
        return (((_features(features) - self.mean) / self.scale) @ self.weight + self.bias).argmax(axis=1)


def class_agreement(
    predict: Callable[[np.ndarray], np.ndarray], inputs: np.ndarray, labels: np.ndarray, class_names: Sequence[str]
) -> dict[str, float]:
    """Compute the share of pictures whose predicted class is the requested one, by class and "overall" (their mean).

    `predict` maps `inputs` [n, ...] (features for `ClassClassifier.predict`, or pictures) to classes int [n].
    """
    right = np.asarray(predict(inputs)) == labels
    assert right.shape == labels.shape, (right.shape, labels.shape)
    shares = {name: float(right[labels == c].mean()) for c, name in enumerate(class_names) if (labels == c).any()}
    return {"overall": float(np.mean(list(shares.values()))), **shares}


def diversity(
    pictures: np.ndarray, labels: np.ndarray, class_names: Sequence[str], pairs: int = 300, seed: int = 0
) -> dict[str, float]:
    """Compute 1 - mean SSIM of pairs within a class (Kang et al. 2017), by class and "overall" (their mean).

    Compares all pairs of a class, or `pairs` random ones if there are more. Classes with fewer than two pictures are
    left out; "overall" is nan if that leaves none.
    """
    rng = np.random.default_rng(seed)
    by_class: dict[str, float] = {}
    for c, name in enumerate(class_names):
        rows = np.flatnonzero(labels == c)
        if len(rows) < 2:
            continue
        first, second = np.triu_indices(len(rows), k=1)
        if len(first) > pairs:
            chosen = rng.choice(len(first), pairs, replace=False)
            first, second = first[chosen], second[chosen]
        by_class[name] = float(1 - ssim(pictures[rows[first]], pictures[rows[second]]).mean())
    return {"overall": float(np.mean(list(by_class.values()))) if by_class else float("nan"), **by_class}


def ssim(a: np.ndarray, b: np.ndarray, chunk: int = 64) -> np.ndarray:
    """Compute the structural similarity of pictures uint8 [n, H, W, 3], pair by pair: float64 [n], mean over channels.

    Wang et al. 2004: Gaussian window of 11 pixels, sigma 1.5, only at positions where it lies inside the picture.
    """
    assert a.shape == b.shape, (a.shape, b.shape)
    offsets = torch.arange(_SSIM_WINDOW, dtype=torch.float32) - _SSIM_WINDOW // 2
    window = torch.exp(-offsets.square() / (2 * _SSIM_SIGMA**2))
    window = window / window.sum()

    def blur(x: Tensor) -> Tensor:  # [n, 1, H, W]; rows first, then columns
        return F.conv2d(F.conv2d(x, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))

    values = []
    for start in range(0, len(a), chunk):
        x, y = (torch.from_numpy(p[start : start + chunk]).permute(0, 3, 1, 2).float() / 255 for p in (a, b))
        count, height, width = len(x), *x.shape[2:]
        x, y = (p.reshape(count * 3, 1, height, width) for p in (x, y))
        mean_x, mean_y, xx, yy, xy = (blur(p) for p in (x, y, x * x, y * y, x * y))
        var_x, var_y, covariance = xx - mean_x.square(), yy - mean_y.square(), xy - mean_x * mean_y
        top = (2 * mean_x * mean_y + _SSIM_C1) * (2 * covariance + _SSIM_C2)
        bottom = (mean_x.square() + mean_y.square() + _SSIM_C1) * (var_x + var_y + _SSIM_C2)
        values.append((top / bottom).reshape(count, -1).double().mean(dim=1))
    return torch.cat(values).numpy()


def _features(x: np.ndarray) -> np.ndarray:
    """Convert features to float64; ValueError unless they are at least two finite rows."""
    if x.ndim != 2 or len(x) < 2:
        raise ValueError(f"features have shape {x.shape}; wanted [n, D] with at least 2 rows")
    if not np.isfinite(x).all():
        raise ValueError("features hold NaN or infinity; check the network that computed them")
    return x.astype(np.float64)


def _same_width(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"features of {a.shape[1]} and {b.shape[1]} columns come from two networks")


def _covariance_factor(x: np.ndarray) -> np.ndarray:
    """Compute P [min(n, D), D] such that P^T P is the covariance of x [n, D]."""
    centred = (x - x.mean(axis=0)) / np.sqrt(len(x) - 1)
    return np.asarray(np.linalg.qr(centred, mode="r")) if len(x) > x.shape[1] else centred


def _polynomial_kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return torch.cdist(torch.from_numpy(x), torch.from_numpy(y), compute_mode="donot_use_mm_for_euclid_dist").numpy()
