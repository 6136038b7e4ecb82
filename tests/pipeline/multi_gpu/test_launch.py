"""How many ranks a training gets, and what they are given; the ranks themselves are in tests/scale."""

from pathlib import Path

import pytest

from models.data.dataset import Dataset
from pipeline.core.errors import InputError
from pipeline.runtime.resources import Compute
from tests.models.planted import planted


def test_ranks_are_a_number_or_one_a_gpu() -> None:
    assert Compute(device="cpu").rank_count() == 1
    assert Compute(device="cpu", ranks="3").rank_count() == 3
    assert Compute(device="cpu", ranks="auto").rank_count() == 1
    for wrong in ("0", "-1", "two", "1.5"):
        with pytest.raises(InputError, match=f"ATELIER_RANKS is '{wrong}'; give a number"):
            Compute(device="cpu", ranks=wrong).rank_count()


def test_more_ranks_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.training.device.available", lambda: ["cuda", "cpu"])
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert Compute(device="cuda", ranks="auto").rank_count() == 2
    assert Compute(device="cuda:1", ranks="auto").rank_count() == 1
    for device, ranks, of in (("cuda", "3", 2), ("cuda:1", "2", 1)):
        with pytest.raises(InputError, match=f"ATELIER_RANKS is {ranks}, but device '{device}' has room for {of}"):
            Compute(device=device, ranks=ranks).rank_count()


def test_a_linked_bank_is_never_written_over(tmp_path: Path) -> None:
    planted().save(tmp_path / "bank")
    data = Dataset.load(tmp_path / "bank")
    before = (tmp_path / "bank" / "bank.npy").read_bytes()
    (tmp_path / "alias").symlink_to(tmp_path / "bank", target_is_directory=True)
    Dataset.load(tmp_path / "alias").save(tmp_path / "room", link=True)
    assert (tmp_path / "room" / "bank.npy").resolve() == (tmp_path / "bank" / "bank.npy").resolve()
    assert Dataset.load(tmp_path / "room").digest() == data.digest()
    planted(seed=1).save(tmp_path / "room")  # another bank takes the link's place, not the file behind it
    assert (tmp_path / "bank" / "bank.npy").read_bytes() == before
    assert not (tmp_path / "room" / "bank.npy").is_symlink()
