"""Checkpoints are written atomically and read without running any code in them."""

import os
from pathlib import Path

import pytest
import torch

from models.training import checkpoint


class CrashError(Exception):
    pass


def test_a_checkpoint_is_loaded_as_saved(tmp_path: Path) -> None:
    state = {
        "weights": {"a": torch.arange(6.0).reshape(2, 3)},
        "epoch": 3,
        "settings": {"name": "paper", "betas": [0.9, 0.999]},
    }
    checkpoint.save(tmp_path / "deep" / "last.pt", state)
    back = checkpoint.load(tmp_path / "deep" / "last.pt")
    assert torch.equal(back["weights"]["a"], state["weights"]["a"])
    assert (back["epoch"], back["settings"]) == (3, state["settings"])


def test_a_crash_while_writing_leaves_the_old_checkpoint_and_no_temporary_file(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"epoch": 1})

    def crash(state, file):
        file.write(b"half a checkpo")
        raise CrashError

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(CrashError):
        checkpoint.save(path, {"epoch": 2})
    assert checkpoint.load(path) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "executed"),)

    torch.save({"epoch": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match=r"evil\.pt"):
        checkpoint.load(tmp_path / "evil.pt")
    assert not (tmp_path / "executed").exists()


def test_the_error_for_a_missing_or_damaged_checkpoint_names_it_and_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"last\.pt: no checkpoint there; train first"):
        checkpoint.load(tmp_path / "last.pt")
    checkpoint.save(tmp_path / "last.pt", {"weights": torch.zeros(1000)})
    whole = (tmp_path / "last.pt").read_bytes()
    (tmp_path / "last.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"last\.pt: .*damaged"):
        checkpoint.load(tmp_path / "last.pt")
