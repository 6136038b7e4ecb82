"""Train Cornac's VBPR on arrays: `python cornac_worker.py IN.npz OUT.npz`, run by a Python that has Cornac.

`exchange.py` describes the files.
"""

import json
import sys
from collections import OrderedDict
from typing import Any

import numpy as np


def main(source: str, target: str) -> None:
    """Read the arrays, train once, and write the factors after each of the requested numbers of `epochs`."""
    import torch
    from cornac.data import Dataset, ImageModality  # ty: ignore[import-not-found]
    from cornac.models import VBPR  # ty: ignore[import-not-found]

    with np.load(source) as given:
        train, features, epochs = given["train"], given["features"], sorted(given["epochs"].tolist())
        users, items, seed = (int(given[name]) for name in ("users", "items", "seed"))
        knobs = json.loads(str(given["knobs"]))
    weights: list[torch.Tensor] = []  # Bi, Gu, Gi, Tu, E, Bp, during training
    kept: list[list[np.ndarray]] = []
    epochs_begun = 0

    # Cornac's loop has no callback, so take the weights from its optimiser and the start of an epoch from its data set.
    adam = torch.optim.Adam

    def watched_adam(params: list[torch.Tensor], **more: Any) -> torch.optim.Optimizer:
        weights[:] = params
        return adam(params, **more)

    def keep() -> None:
        kept.append([tensor.detach().numpy().copy() for tensor in weights])

    class Watched(Dataset):
        def uij_iter(self, *given: Any, **more: Any) -> Any:
            nonlocal epochs_begun
            if epochs_begun in epochs:
                keep()
            epochs_begun += 1
            return super().uij_iter(*given, **more)

    torch.optim.Adam = watched_adam  # ty: ignore[invalid-assignment]
    torch.manual_seed(seed)
    # Put every user and item into the maps in our order, so that rows match ours, and items that nobody has in train
    # are sampled as negatives, as for our models.
    uid_map, iid_map = OrderedDict((u, u) for u in range(users)), OrderedDict((i, i) for i in range(items))
    triples = [(int(u), int(i), 1.0) for u, i in train]
    data = Watched.build(triples, global_uid_map=uid_map, global_iid_map=iid_map, seed=seed)
    images = ImageModality(features=features, ids=list(range(items)), normalized=False)
    images.build(id_map=iid_map)
    data.add_modalities(item_image=images)
    model = VBPR(n_epochs=epochs[-1], seed=seed, use_gpu=False, verbose=False, **knobs).fit(data)
    keep()
    if len(model.gamma_item) != items or len(model.gamma_user) != users:
        raise SystemExit(
            f"Cornac trained {len(model.gamma_user)} users and {len(model.gamma_item)} items, not {users} and {items}"
        )
    if len(kept) != len(epochs):
        raise SystemExit(f"Cornac trained for {epochs_begun} epochs, not {epochs[-1]}")
    bias, gamma_user, gamma_item, theta, projection, beta = (np.stack(rows) for rows in zip(*kept, strict=True))
    np.savez(
        target,
        theta=np.concatenate([gamma_user, theta], 2),
        item=np.concatenate([gamma_item, features @ projection], 2),
        item_bias=bias + (features @ beta)[..., 0],
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
