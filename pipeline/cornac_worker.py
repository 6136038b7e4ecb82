"""Trains Cornac's VBPR, as released, on arrays: run by a Python that has Cornac, knows nothing of this project.

`python cornac_worker.py IN.npz OUT.npz`. What it is given and gives is `cornac_peer.py`'s contract.
"""

import sys
from collections import OrderedDict

import numpy as np


def main(source: str, target: str) -> None:
    """Read the arrays, train, write the factors."""
    import torch
    from cornac.data import Dataset, ImageModality  # ty: ignore[import-not-found]
    from cornac.models import VBPR  # ty: ignore[import-not-found]

    with np.load(source) as given:
        train, features = given["train"], given["features"]
        users, items, seed, epochs = (int(given[name]) for name in ("users", "items", "seed", "epochs"))
    torch.manual_seed(seed)
    # Every user and item is in the maps from the start, in our order, so that its rows are ours and an item that
    # nobody has in train is a negative like any other, as for our models.
    uid_map, iid_map = OrderedDict((u, u) for u in range(users)), OrderedDict((i, i) for i in range(items))
    triples = [(int(u), int(i), 1.0) for u, i in train]
    data = Dataset.build(triples, global_uid_map=uid_map, global_iid_map=iid_map, seed=seed)
    images = ImageModality(features=features, ids=list(range(items)), normalized=False)
    images.build(id_map=iid_map)
    data.add_modalities(item_image=images)
    # No knob but the number of epochs is touched: the released defaults.
    model = VBPR(n_epochs=epochs, seed=seed, use_gpu=False, verbose=False).fit(data)
    if len(model.gamma_item) != items or len(model.gamma_user) != users:
        raise SystemExit(f"Cornac has {len(model.gamma_user)} users and {len(model.gamma_item)} items, not all")
    np.savez(
        target,
        theta=np.concatenate([model.gamma_user, model.theta_user], 1),
        item=np.concatenate([model.gamma_item, model.theta_item], 1),
        item_bias=model.beta_item + model.visual_bias,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
