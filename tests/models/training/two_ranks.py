"""Train as one of two ranks for test_ranks.py; torchrun starts it: `python -m tests.models.training.two_ranks FOLDER`.

On its first start rank 1 kills itself in the second epoch of the first training.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch

from models.dvbpr import train as train_dvbpr
from models.lsgan.train import Measure, train
from models.training.ranks import here, joined
from tests.models.planted import planted
from tests.models.training import test_ranks as setup

KILLED_AT = 11  # an epoch has eight steps


def deadly(loss, left=iter(range(KILLED_AT, -1, -1))):  # noqa: B008
    def of(*args):
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(*args)

    return of


def main(folder: Path) -> None:
    attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    with joined(setup.CPU, f"file://{folder}/store-{attempt}"):
        rank = here().rank
        (folder / f"started-{attempt}-{rank}").touch()
        loss = train_dvbpr.dvbpr.loss
        if rank == 1 and attempt == 0:
            train_dvbpr.dvbpr.loss = deadly(loss)
        assert train_dvbpr.main(setup.call(folder, "killed")) == 0
        data = planted(triplets=setup.TRIPLETS)
        for name in ("whole", "half"):
            trained = train_dvbpr.train(data, setup.DVBPR, folder / name, setup.CPU)
            np.savez(folder / f"{name}-returned-{rank}.npz", phi=trained.factors.phi, theta=trained.factors.theta)
        for name, settings in setup.LSGAN.items():
            calls: list[int] = []
            measure = Measure("looks", lambda network, calls=calls: calls.append(1) or float(len(calls)))
            trained = train(
                *setup.garments(), setup.NAMES, settings, folder / name, setup.CPU, measure=measure,
            )  # fmt: skip
            assert len(calls) == (0 if rank else 2)
            torch.save(trained.generator.state_dict(), folder / f"{name}-returned-{rank}.pt")
        try:
            train_dvbpr.train(planted(seed=rank), setup.DVBPR, folder / "other-data", setup.CPU)
        except RuntimeError as error:
            (folder / f"refused-{rank}").write_text(str(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
