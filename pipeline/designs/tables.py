"""Turn the designs of a search into tables, strips of pictures and figures."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from models.data.picture_grid import grid
from models.design.from_noise import Designs
from models.design.preference import picture_features
from models.design.restyle import Restyled
from pipeline.core import schemas
from pipeline.designs.designs import Studio
from pipeline.views import sheets


def design_rows(studio: Studio, found: Designs) -> tuple[pa.Table, dict[str, np.ndarray]]:
    """Build DESIGNS, one row per (user, class, kept design), and a strip per user: a row per class, a column per step.

    Returns the table, and the strips by file name.
    """
    owner, label, place = (axis.reshape(-1) for axis in np.indices(found.best.shape))
    columns = {
        "user": studio.users[owner],
        "garment_class": [studio.classes[c] for c in label],
        "item": [None] * len(owner),
        "place": place + 1,
        "start": found.best.reshape(-1),
        "approximation_l1": [None] * len(owner),
        "z": list(found.path[..., -1, :].reshape(len(owner), -1)),
        "strip": [f"user-{user}.png" for user in studio.users[owner]],
        **_before_and_after(found.before, found.after),
        **_rank_columns(studio, found.kept.reshape(len(owner), *found.kept.shape[3:]), owner, label),
    }
    steps = _steps(found.shown_step)
    strips = {
        f"user-{user}.png": grid(found.pictures[u], row_labels=studio.classes, column_labels=steps)
        for u, user in enumerate(studio.users)
    }
    return _table(studio, columns, owner), strips


def step_rows(studio: Studio, found: Designs) -> pa.Table:
    """Build DESIGN_STEPS: one row per step of every start."""
    owner, label, start, step = (axis.reshape(-1) for axis in np.indices(found.score.shape))
    place = np.zeros(found.score.shape[:3], np.int16)
    np.put_along_axis(place, found.best, np.arange(1, found.best.shape[2] + 1, dtype=np.int16), axis=2)
    of_row = place[owner, label, start]
    column = np.full(found.score.shape[3], -1)
    column[found.shown_step] = np.arange(len(found.shown_step))
    with_z = (of_row > 0) & (column[step] >= 0)
    z: list[np.ndarray | None] = [None] * len(owner)
    for row in np.flatnonzero(with_z):
        z[row] = found.path[owner[row], label[row], of_row[row] - 1, column[step[row]]]
    return pa.table(
        {
            "user": pa.array(studio.users[owner].astype(np.int32)),
            "garment_class": pa.array(np.asarray(studio.classes)[label]),
            "start": pa.array(start.astype(np.int16)),
            "step": pa.array(step.astype(np.int16)),
            **{name: pa.array(getattr(found, name).reshape(-1)) for name in ("score", "realism", "objective")},
            "place": pa.array(of_row, mask=of_row == 0),
            "z": pa.array(z, pa.list_(pa.float32())),
        },
        schema=schemas.DESIGN_STEPS,
    )


def restyled_rows(studio: Studio, found: Restyled, products: pa.Table) -> tuple[pa.Table, dict[str, np.ndarray]]:
    """Build DESIGNS, one row per (product, user), and a strip per product, by file name.

    A strip has one row per user: the product, its nearest approximation by the generator, then the steps.
    """
    count, users = found.shown_score.shape[:2]
    product, owner = (axis.reshape(-1) for axis in np.indices((count, users)))
    names = products["garment_class"].to_pylist()
    label = np.array([studio.classes.index(name) for name in names])[product]
    items = products["item"].to_pylist()
    finished = found.pictures[:, :, -1].reshape(len(owner), *found.pictures.shape[3:])
    scores, realism = found.shown_score, found.shown_realism
    columns = {
        "user": studio.users[owner],
        "garment_class": [names[p] for p in product],
        "item": [items[p] for p in product],
        "place": np.ones(len(owner)),
        "start": found.start[product],
        "approximation_l1": found.distance[product],
        "z": list(found.z.reshape(len(owner), -1)),
        "strip": [f"product-{p}.png" for p in product],
        **_before_and_after((scores[..., 0], realism[..., 0]), (scores[..., -1], realism[..., -1])),
        **_rank_columns(studio, finished, owner, label),
    }
    headings = ["product", "nearest", *_steps(found.shown_step)[1:]]
    people = [f"user {user}" for user in studio.users]
    strips = {}
    for p in range(count):
        original = np.broadcast_to(found.products[p], (users, 1, *found.products.shape[1:]))
        shown = np.concatenate([original, found.pictures[p]], axis=1)
        strips[f"product-{p}.png"] = grid(shown, row_labels=people, column_labels=headings)
    return _table(studio, columns, owner), strips


def figures(table: pa.Table) -> dict[str, Any]:
    """Average a DESIGNS table over the best design of each user and class; `kept_` figures over all kept designs."""
    kept = table.to_pandas()
    frame = kept[kept["place"] == 1]
    gain = frame["score_after"] - frame["score_before"]
    return {
        "users": int(frame["user"].nunique()),
        "designs": len(frame),
        "preference_gain_mean": float(gain.mean()),
        "preference_gain_sd_mean": float(frame["gain_sd"].mean()),
        "preference_gained_share": float((gain > 0).mean()),
        "users_gained_share": float((gain > 0).groupby(frame["user"]).all().mean()),
        "own_rank_first_share": float((frame["own_rank"] == 1).mean()),
        "own_rank_in_class_first_share": float((frame["own_rank_in_class"] == 1).mean()),
        "kept_own_rank_first_share": float((kept["own_rank"] == 1).mean()),
        "realism_before_mean": float(frame["realism_before"].mean()),
        "realism_after_mean": float(frame["realism_after"].mean()),
        "nearest_l1_mean": float(frame["nearest_l1"].mean()),
    }


def save_strips(folder: Path, strips: Mapping[str, np.ndarray]) -> Path:
    """Write the strips, replacing those of an earlier run; return the folder."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, picture in strips.items():
        sheets.save(folder / name, picture)
    return folder


def _rank_columns(studio: Studio, pictures: np.ndarray, owner: np.ndarray, label: np.ndarray) -> dict[str, Any]:
    """Compute the columns of ranks and of the nearest product for pictures uint8 [n, 64, 64, 3]."""
    rank, in_class = studio.jury.ranks(picture_features(studio.recommender, pictures), owner, label)
    asins, distance = studio.shop.nearest(pictures)
    return {
        "own_rank": rank,
        "own_rank_in_class": in_class,
        "judges": np.full(len(owner), studio.jury.size),
        "nearest_asin": asins,
        "nearest_l1": distance,
    }


def _before_and_after(
    before: tuple[np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray]
) -> dict[str, np.ndarray]:
    """Flatten score and realism of the first and the last picture into columns."""
    return {
        "score_before": before[0].reshape(-1),
        "score_after": after[0].reshape(-1),
        "realism_before": before[1].reshape(-1),
        "realism_after": after[1].reshape(-1),
    }


def _table(studio: Studio, columns: dict[str, Any], owner: np.ndarray) -> pa.Table:
    gain = (columns["score_after"] - columns["score_before"]) / np.maximum(studio.jury.spread()[owner], 1e-12)
    columns["gain_sd"] = gain
    arrays = []
    for field in schemas.DESIGNS:
        values = columns[field.name]
        if isinstance(values, np.ndarray):
            values = values.astype(field.type.to_pandas_dtype())
        arrays.append(pa.array(values, field.type))
    return pa.table(arrays, schema=schemas.DESIGNS)


def _steps(shown: np.ndarray) -> list[str]:
    return ["start" if step == 0 else f"step {step}" for step in shown]
