"""Serve the recommender through MLflow: a table of requests in, a table of ranked items out.

MLflow runs this file when it loads the model ("models from code"), with the copies of our packages that were registered
with it. Nothing is pickled.
"""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import INVALID_PARAMETER_VALUE, MlflowException

from pipeline.champions import served_request
from pipeline.champions.served_model import Pick, ServedModel
from pipeline.core import digests
from pipeline.core.quoting import printable_lines
from pipeline.recommenders.contract import NewItemError

COLUMNS = {"row": "int64", "user_id": object, "known": bool, "rank": "int64", "item": object, "score": float}


class ServedRecommender(mlflow.pyfunc.PythonModel):
    """Answers rows of `user_id` and, optionally, `k`, `exclude_seen`, `class`, `picture`, `title` and `categories`."""

    def load_context(self, context: Any) -> None:
        """Load the registered folder; raise DamagedFileError if its files changed since they were written."""
        folder = Path(context.artifacts["recommender"])
        for above in folder.parents[:2]:
            digests.expect_list(above, "register the model again, or bring its files back from a copy.")
        self.model = ServedModel(folder)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Rank items for every row of the request; `row` in the answer is its number, from 0.

        A row without a picture gets its k best items. A row with a picture, and the title and categories of that new
        item if they are known, gets one line: the new item's score and the rank it would have. `known` is false for a
        user that the model was not trained on: the ranking is then by popularity, and a new item is scored with the
        mean user's factors.

        Raises:
            MlflowException: the request or a row is invalid; the message names the row and the reason (over HTTP: 400).
        """
        answers = []
        try:
            for number, request in enumerate(served_request.read(model_input)):
                user = self.model.user(request.user_id)
                picks = self._answer(number, user, request)
                answers += [
                    (number, request.user_id, user is not None, pick.rank, pick.item, pick.score) for pick in picks
                ]
        except served_request.RefusedRequestError as error:
            raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from error
        # Object columns keep None, which JSON writes as null; string columns would turn it into NaN, which JSON lacks.
        return pd.DataFrame(answers, columns=list(COLUMNS), dtype=object).astype(COLUMNS)

    def encode(self, picture: bytes, title: str | None = None, categories: tuple[str, ...] | None = None) -> Any:
        """Compute a new item's factors, [K] float32, and bias; its score for a user is theta . factors + bias."""
        return self.model.encode(picture, title, categories)

    def _answer(self, number: int, user: int | None, request: served_request.Request) -> list[Pick]:
        options = {"exclude_seen": request.exclude_seen, "garment_class": request.garment_class}
        try:
            if request.picture is not None:
                new = request.picture, request.title, request.categories
                return [self.model.score_new_item(user, *new, **options)]
            return self.model.recommend(user, request.k, **options)
        except NewItemError as error:
            reason = f"row {number}: {error.field}: {printable_lines(error)}"
            raise served_request.RefusedRequestError(reason) from error
        except ValueError as error:
            raise served_request.RefusedRequestError(f"row {number}: {printable_lines(error)}") from error


mlflow.models.set_model(ServedRecommender())
