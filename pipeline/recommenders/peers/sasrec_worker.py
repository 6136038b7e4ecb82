"""Train RecTools' SASRec on histories in order: `python sasrec_worker.py IN.npz OUT.npz`; files: `exchange.py`."""

import json
import logging
import sys
import warnings

import numpy as np


def main(source: str, target: str) -> None:
    """Train once; write the users' and the items' vectors after each number of epochs.

    Pairs of unknown time are left out: they have no place in the order. RecTools knows only items that it trained on,
    so an unseen item gets the mean of the seen items of its narrowest category that has any, or of all.
    """
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    import pandas as pd
    from pytorch_lightning import seed_everything  # ty: ignore[import-not-found]
    from rectools.dataset import Dataset  # ty: ignore[import-not-found]
    from rectools.models import SASRecModel  # ty: ignore[import-not-found]
    from rectools.models.nn.item_net import CatFeaturesItemNet, IdEmbeddingsItemNet  # ty: ignore[import-not-found]

    with np.load(source) as given:
        train, time, epochs = given["train"], given["train_time"], given["epochs"].tolist()
        users, items, seed = (int(given[name]) for name in ("users", "items", "seed"))
        categories, knobs = given["categories"], json.loads(str(given["knobs"]))
        known = time != given["unknown_time"]
    seed_everything(seed)
    rows = pd.DataFrame(train[known], columns=["user_id", "item_id"])
    rows = rows.assign(weight=1.0, datetime=pd.to_datetime(time[known], unit="s"))
    rows = rows.sort_values("datetime", kind="stable").drop_duplicates(["user_id", "item_id"], keep="last")
    seen = np.unique(rows["item_id"])
    levels = [f"level {level}" for level in range(categories.shape[1])]
    features = pd.DataFrame(categories[seen], columns=levels).assign(id=seen).melt("id", var_name="feature")
    features = features[features["value"] >= 0]
    described = {"item_features_df": features, "cat_item_features": levels} if len(features) else {}
    data = Dataset.construct(rows, **described)
    blocks = (IdEmbeddingsItemNet, CatFeaturesItemNet) if described else (IdEmbeddingsItemNet,)
    model = SASRecModel(item_net_block_types=blocks, verbose=0, recommend_torch_device="cpu", **knobs)
    kept, done = [], 0
    for number in epochs:
        model.fit_partial(data, min_epochs=number - done, max_epochs=number - done)
        done = number
        kept.append(vectors(model, data, users, items))
    theta, item = (np.stack(arrays) for arrays in zip(*kept, strict=True))
    for one in item:
        fill_unseen(one, seen, categories)
    np.savez(target, theta=theta, item=item, item_bias=np.zeros(item.shape[:2], np.float32))


def vectors(model, data, users: int, items: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute a trained model's vectors: users [U, K], zeros without a history; items [I, K], zeros if unseen."""
    known = model.data_preparator.transform_dataset_u2i(data, np.unique(data.user_id_map.external_ids))
    loader = model.data_preparator.get_dataloader_recommend(known, 256)
    of_user, of_item = model.lightning_model._get_user_item_embeddings(loader, "cpu")
    theta = np.zeros((users, of_user.shape[1]), np.float32)
    theta[known.user_id_map.external_ids.astype(int)] = of_user.numpy()
    item = np.zeros((items, of_user.shape[1]), np.float32)
    names = model.data_preparator.item_id_map.external_ids[model.data_preparator.n_item_extra_tokens :]
    item[names.astype(int)] = of_item.numpy()[model.data_preparator.n_item_extra_tokens :]
    return theta, item


def fill_unseen(item: np.ndarray, seen: np.ndarray, categories: np.ndarray) -> None:
    """Give each unseen row of `item` [I, K] the mean of the seen rows of its narrowest category that has any."""
    unseen = np.setdiff1d(np.arange(len(item)), seen)
    item[unseen] = item[seen].mean(0)
    for codes in categories.T:  # broad to narrow: a narrower category overwrites
        for code in np.unique(codes[unseen][codes[unseen] >= 0]):
            like = seen[codes[seen] == code]
            if len(like):
                item[unseen[codes[unseen] == code]] = item[like].mean(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
