"""iALS (Hu, Koren and Volinsky 2008): weighted matrix factorisation of implicit feedback, by the package `implicit`."""

from typing import TYPE_CHECKING, Any

from pipeline.recommenders.contract import FitContext, FitProgress, Fitted, Recommender

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.data.dataset import Dataset
    from models.data.factors import Factors

# (factors, regularisation, alpha: how much more an interaction counts than none), tuned on validation
GRID = ((16, 0.1, 1.0), (16, 0.1, 10.0), (64, 0.1, 1.0), (64, 0.1, 10.0), (64, 1.0, 1.0))
ITERATIONS = 15  # as is the package's default


class Ials(Recommender):
    """iALS on the train pairs alone."""

    name = "ials"
    title = "iALS"
    hint = "learnt taste, no pictures"
    baseline = True
    takes_prior = True

    def fit(self, context: FitContext, settings: Any) -> Fitted:
        """Train every point of the grid and keep the best on validation."""
        from models.baselines.tuning import best, touched

        data = context.data
        seed = context.seed

        def candidates() -> "Iterator[tuple[tuple[int, float, float], Factors]]":
            for done, point in enumerate(GRID):
                context.report(FitProgress(done, len(GRID), f"factors {point[0]}, alpha {point[2]}"))
                yield point, factorised(data, *point, seed)

        (factors, regularisation, alpha), model, values = best(candidates(), data.validation, touched(data))
        grid = [{"factors": f, "regularisation": r, "alpha": a, "validation": v} for (f, r, a), v in values.items()]
        return Fitted(
            model, details={"factors": factors, "regularisation": regularisation, "alpha": alpha, "grid": grid}
        )


def factorised(data: "Dataset", factors: int, regularisation: float, alpha: float, seed: int) -> "Factors":
    """Train one model. Equal seeds give equal factors: it runs on one thread, as the sums depend on their number.

    Users and items without train interactions get zeros.
    """
    import numpy as np
    from implicit.cpu.als import AlternatingLeastSquares
    from scipy.sparse import csr_matrix
    from threadpoolctl import threadpool_limits

    from models.baselines.simple import blind
    from models.data import priors

    pairs = priors.latest(data)[0]
    ones = np.ones(len(pairs), np.float32)
    matrix = csr_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape=(len(data.users), len(data.items)))
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=factors,
            regularization=regularisation,
            alpha=alpha,
            iterations=ITERATIONS,
            num_threads=1,
            random_state=seed,
        )
        model.fit(matrix, show_progress=False)
    user, item = np.array(model.user_factors), np.array(model.item_factors)
    user[np.bincount(pairs[:, 0], minlength=len(user)) == 0] = 0
    item[np.bincount(pairs[:, 1], minlength=len(item)) == 0] = 0
    return blind(data, user, item)
