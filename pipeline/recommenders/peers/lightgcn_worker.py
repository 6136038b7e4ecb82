"""Train PyTorch Geometric's LightGCN: `python lightgcn_worker.py IN.npz OUT.npz`; `exchange.py` describes the files."""

import json
import sys

import numpy as np


def main(source: str, target: str) -> None:
    """Train once, full propagation with BPR over batches of pairs; write the factors after each number of epochs."""
    import torch
    from torch_geometric.nn.models import LightGCN  # ty: ignore[import-not-found]

    with np.load(source) as given:
        train, epochs, knobs = np.unique(given["train"], axis=0), given["epochs"].tolist(), str(given["knobs"])
        users, items, seed = (int(given[name]) for name in ("users", "items", "seed"))
    batch, rate, layers, k, l2 = (
        json.loads(knobs)[name] for name in ("batch_size", "learning_rate", "layers", "k", "l2")
    )
    torch.manual_seed(seed)
    user, item = torch.from_numpy(train.astype(np.int64)).T
    edges = torch.stack([torch.cat([user, item + users]), torch.cat([item + users, user])])  # both directions
    model = LightGCN(users + items, embedding_dim=k, num_layers=layers)
    adam = torch.optim.Adam(model.parameters(), lr=rate)
    kept = []
    for epoch in range(1, max(epochs) + 1):
        for rows in torch.randperm(len(user)).split(batch):
            nodes = torch.stack([user[rows], item[rows] + users, torch.randint(items, (len(rows),)) + users])
            of_user, positive, negative = model.get_embedding(edges)[nodes]
            loss = model.recommendation_loss(
                (of_user * positive).sum(-1), (of_user * negative).sum(-1), node_id=nodes.unique(), lambda_reg=l2
            )
            adam.zero_grad()
            loss.backward()
            adam.step()
        if epoch in epochs:
            with torch.no_grad():
                kept.append(model.get_embedding(edges).numpy())
    found = np.stack(kept)  # [S, U + I, K]
    bias = np.zeros((len(kept), items), np.float32)
    np.savez(target, theta=found[:, :users], item=found[:, users:], item_bias=bias)


if __name__ == "__main__":
    main(*sys.argv[1:])
