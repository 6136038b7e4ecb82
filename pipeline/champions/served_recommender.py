"""The recommender as MLflow serves it: requests in a table, ranked items in a table.

MLflow runs this file where the model is loaded ("models from code"), with the copy of our packages that was
registered beside it. What is answered is `shelf.py`; registering is `registry.py`. No pickle takes part.
"""

import base64
import math
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import INVALID_PARAMETER_VALUE, MlflowException

from pipeline.champions.served_model import Pick, Shelf

DEFAULT_K = 10
COLUMNS = {"row": "int64", "user_id": object, "known": bool, "rank": "int64", "item": object, "score": float}


class ServedRecommender(mlflow.pyfunc.PythonModel):
    """One row a person: `user_id`, and if wanted `k`, `exclude_seen`, `class`, `picture`."""

    def load_context(self, context: Any) -> None:
        """Read the folder that was registered."""
        self.shelf = Shelf(Path(context.artifacts["recommender"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Ranked items of every row; `row` says which row of the request, from 0.

        A row without a picture gets its k best items. One with a picture gets one line: the new item's score and the
        rank it would take. `known` is false where nobody of that id was trained on: then the list is by popularity,
        and a picture is scored for the mean taste.

        Raises:
            MlflowException: a row cannot be answered; says which and why (over HTTP: 400).
        """
        answers = []
        for number, request in enumerate(model_input.to_dict("records")):
            given = {str(name): value for name, value in request.items() if not _missing(value)}
            user_id = str(given["user_id"]) if "user_id" in given else None
            user = self.shelf.user(user_id)
            try:
                picks = self._answer(user, given)
            except ValueError as error:
                raise MlflowException(f"row {number}: {error}", error_code=INVALID_PARAMETER_VALUE) from error
            answers += [(number, user_id, user is not None, pick.rank, pick.item, pick.score) for pick in picks]
        # Objects keep None, which JSON writes null; strings would make it NaN, which JSON does not have.
        return pd.DataFrame(answers, columns=list(COLUMNS), dtype=object).astype(COLUMNS)

    def embed(self, picture: bytes) -> Any:
        """A new item's place in the space of tastes, [K] float32; its score for a user is theta . embed(picture)."""
        return self.shelf.embed(picture)

    def _answer(self, user: int | None, given: dict[str, Any]) -> list[Pick]:
        exclude_seen = given.get("exclude_seen", True)
        if exclude_seen not in (True, False):
            raise ValueError(f"exclude_seen={exclude_seen!r}: true or false was expected")
        options = {"exclude_seen": bool(exclude_seen), "garment_class": given.get("class")}
        if "picture" in given:
            return [self.shelf.place(user, _bytes(given["picture"]), **options)]
        k = float(given.get("k", DEFAULT_K))
        if not k.is_integer():
            raise ValueError(f"k={k:g}: a whole number was expected")
        return self.shelf.recommend(user, int(k), **options)


def _missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def _bytes(picture: str | bytes) -> bytes:
    """A picture as it came: base64 in text, or its bytes. ValueError for text that is no base64."""
    if isinstance(picture, bytes):
        return picture
    try:
        return base64.b64decode("".join(picture.split()), validate=True)
    except ValueError as error:
        raise ValueError(f"picture: not base64 ({error})") from error


mlflow.models.set_model(ServedRecommender())
