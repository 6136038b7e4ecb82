"""Train LightFM on title and category: `python lightfm_worker.py IN.npz OUT.npz`; `exchange.py` describes the files."""

import json
import sys

import numpy as np


def main(source: str, target: str) -> None:
    """Train once with the WARP loss; write the factors after each number of epochs."""
    import scipy.sparse as sp
    from lightfm import LightFM  # ty: ignore[import-not-found]

    with np.load(source) as given:
        train, epochs, knobs = np.unique(given["train"], axis=0), given["epochs"].tolist(), str(given["knobs"])
        users, items, seed = (int(given[name]) for name in ("users", "items", "seed"))
        text, categories = given["text"], given["categories"]
    knobs = json.loads(knobs)
    blocks = [sp.csr_matrix(text)] if knobs.pop("text") else []
    blocks += [one_hot(level) for level in categories.T]
    blocks += [sp.identity(items)] if knobs.pop("identity") else []
    features = sp.hstack(blocks, format="csr", dtype=np.float32)
    model = LightFM(loss="warp", random_state=seed, **knobs)
    user, item = np.ascontiguousarray(train.T, np.int32)
    matrix = sp.coo_matrix((np.ones(len(train), np.float32), (user, item)), shape=(users, items))
    kept, done = [], 0
    for number in epochs:
        model.fit_partial(matrix, item_features=features, epochs=number - done)
        done = number
        bias, factors = model.get_item_representations(features)
        kept.append([model.get_user_representations()[1].copy(), factors, bias])  # a user's own bias ranks nothing
    theta, item, bias = (np.stack(rows).astype(np.float32) for rows in zip(*kept, strict=True))
    np.savez(target, theta=theta, item=item, item_bias=bias)


def one_hot(codes: np.ndarray):
    """Make a column for each code, [n, codes]; -1 has none."""
    import scipy.sparse as sp

    rows = np.flatnonzero(codes >= 0)
    shape = (len(codes), int(codes.max(initial=-1)) + 1)
    return sp.csr_matrix((np.ones(len(rows), np.float32), (rows, codes[rows])), shape=shape)


if __name__ == "__main__":
    main(*sys.argv[1:])
