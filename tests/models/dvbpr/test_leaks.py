"""A model trained on shuffled labels has an AUC of one half, so nothing leaks from the hold-outs.

`tests/pipeline/checks/test_dataset_and_trained.py` tests the asset checks against leaks planted in the tables.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from models.dvbpr.train import train
from models.metrics import evaluate
from tests.models.dvbpr.test_train_dvbpr import CPU, TINY
from tests.models.planted import planted, shuffled_validation


def test_the_auc_interval_includes_one_half_for_shuffled_labels_but_not_for_true_ones(tmp_path: Path) -> None:
    true = planted(users=300, items=400, triplets=1024)
    users = np.random.default_rng(5).permuted(true.triplets_user, axis=1)  # who liked which picture is lost
    settings = replace(TINY, dropout=0.0, learning_rate=1e-3)
    learnt = train(true, settings, tmp_path / "true", CPU).factors
    aimless = train(replace(true, triplets_user=users), settings, tmp_path / "aimless", CPU).factors
    for what, factors, held_out, inside in (
        ("true labels", learnt, true.test, False),
        ("held-out labels shuffled", learnt, shuffled_validation(true, seed=1).validation, True),
        ("training labels shuffled", aimless, true.test, True),
    ):
        low, high = evaluate.bootstrap_mean(evaluate.evaluate(factors, held_out, true.train, true.validation).auc, 0)
        assert (low <= 0.5 <= high) is inside, (what, low, high)
        assert inside or low > 0.5
