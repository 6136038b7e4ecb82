"""Serve the recommender through MLflow: requests in a table, ranked items in a table.

MLflow runs this file where the model is loaded ("models from code"), with the copy of our packages that was registered
with it. No pickle is involved.
"""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import INVALID_PARAMETER_VALUE, MlflowException

from pipeline.champions import served_request
from pipeline.champions.served_model import Pick, Shelf
from pipeline.core import digests
from pipeline.core.quoting import printable_lines

COLUMNS = {"row": "int64", "user_id": object, "known": bool, "rank": "int64", "item": object, "score": float}


class ServedRecommender(mlflow.pyfunc.PythonModel):
    """One row a person: `user_id`, and if wanted `k`, `exclude_seen`, `class`, `picture`."""

    def load_context(self, context: Any) -> None:
        """Read the folder that was registered; its files must be those that were written (DamagedFileError)."""
        folder = Path(context.artifacts["recommender"])
        for above in folder.parents[:2]:
            digests.expect_list(above, "register the model again, or bring its files back from a copy.")
        self.shelf = Shelf(folder)

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Ranked items of every row; `row` says which row of the request, from 0.

        A row without a picture gets its k best items. One with a picture gets one line: the new item's score and the
        rank it would take. `known` is false where nobody of that id was trained on: then the list is by popularity,
        and a picture is scored for the mean taste.

        Raises:
            MlflowException: the request is none, or a row cannot be answered; says which and why (over HTTP: 400).
        """
        answers = []
        try:
            for number, request in enumerate(served_request.read(model_input)):
                user = self.shelf.user(request.user_id)
                picks = self._answer(number, user, request)
                answers += [
                    (number, request.user_id, user is not None, pick.rank, pick.item, pick.score) for pick in picks
                ]
        except served_request.RefusedRequestError as error:
            raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from error
        # Objects keep None, which JSON writes null; strings would make it NaN, which JSON does not have.
        return pd.DataFrame(answers, columns=list(COLUMNS), dtype=object).astype(COLUMNS)

    def embed(self, picture: bytes) -> Any:
        """A new item's place in the space of tastes, [K] float32; its score for a user is theta . embed(picture)."""
        return self.shelf.embed(picture)

    def _answer(self, number: int, user: int | None, request: served_request.Request) -> list[Pick]:
        options = {"exclude_seen": request.exclude_seen, "garment_class": request.garment_class}
        try:
            if request.picture is not None:
                return [self.shelf.place(user, request.picture, **options)]
            return self.shelf.recommend(user, request.k, **options)
        except ValueError as error:
            raise served_request.RefusedRequestError(f"row {number}: {printable_lines(error)}") from error


mlflow.models.set_model(ServedRecommender())
