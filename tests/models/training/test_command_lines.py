"""The training commands refuse unusable input with one line that names the file and says what to do."""

import dataclasses
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.dvbpr import train as train_dvbpr
from models.lsgan import train as train_lsgan
from models.modern import train as train_modern
from tests.models.planted import planted

# Internal words of Python, numpy, zip, pickle, torch and the C library, which no error message may contain.
FOREIGN = re.compile(
    r"Traceback|ZeroDivision|Errno|zero-size|mmap|[Pp]ickle|zip|zlib|BadZip|central directory|magic|inline_container|"
    r"reshape|broadcast|weights_only|load_state_dict|Ran out of input|No data left|unpack|allow_pickle|size mismatch"
)
CUTS: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "one byte": lambda data: data[:1],
    "ten bytes": lambda data: data[:10],
    "half": lambda data: data[: len(data) // 2],
    "all but the last byte": lambda data: data[:-1],
    "garbage": lambda data: b"\x80\x05garbage" * (len(data) // 9),
    "text": lambda _: b"<html>404</html>",
    "the first bytes of another kind": lambda data: (b"\x93NUM" if data[:2] == b"PK" else b"PK\x03\x04") + data[4:],
    "zeros inside": lambda data: data[: len(data) // 3] + bytes(64) + data[len(data) // 3 + 64 :],
}
MODERN = ["--components", "4", "--factors", "4", "--device", "cpu"]
DVBPR = ["--epochs", "1", "--k", "4", "--device", "cpu", "--input-size", "16", "--padding", "same",
         "--width", "0.0625", "--hidden", "0.015625"]  # fmt: skip
LSGAN = ["--device", "cpu", "--width", "0.05", "--z-dim", "4", "--steps", "1", "--tick-steps", "1", "--batch-size", "2",
         "--grid-columns", "2", "--minimum-class", "1"]  # fmt: skip


def faults(capsys: pytest.CaptureFixture[str], code: int, *wanted: str, codes: tuple[int, ...] = (1, 2)) -> list[str]:
    """List what is wrong with the end of a command: its exit code, the number of lines, missing or internal words."""
    said = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    wrong = [] if code in codes else [f"exit code {code}"]
    wrong += [] if len(said) == 1 else [f"{len(said)} lines"]
    wrong += [f"no {word!r}" for word in wanted if not any(word in line for line in said)]
    wrong += [f"foreign words: {line}" for line in said if FOREIGN.search(line)]
    return [*wrong, *said] if wrong else []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the planted data as arrays, with features, and train both recommenders for an epoch."""
    place = tmp_path_factory.mktemp("arrays")
    data = planted(users=20, epochs=1)
    data.save(place)
    np.save(place / "features.npy", np.random.default_rng(0).random((len(data.bank), 6), np.float32))
    assert train_dvbpr.main(["--data", str(place), "--out", str(place / "dvbpr"), *DVBPR]) == 0
    assert train_modern.main(["--data", str(place), "--out", str(place / "modern"), *MODERN]) == 0
    return place


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", ["dataset.npz", "bank.npy", "features.npy"])
def test_the_error_for_a_damaged_array_names_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, cut: str
):
    for file in ("dataset.npz", "bank.npy", "features.npy"):
        (tmp_path / file).write_bytes((folder / file).read_bytes())
    damaged = CUTS[cut]((folder / name).read_bytes())
    (tmp_path / name).write_bytes(damaged)
    code = train_modern.main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), *MODERN])
    if code == 0 and cut == "zeros inside":  # black pixels are valid pictures
        return
    assert faults(capsys, code, str(tmp_path), codes=(2,)) == []


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", ["last.pt", "best.pt"])
def test_the_error_for_a_damaged_checkpoint_names_it_and_says_what_to_do(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, cut: str
):
    for file in ("last.pt", "best.pt"):
        (tmp_path / file).write_bytes((folder / "dvbpr" / file).read_bytes())
    (tmp_path / name).write_bytes(CUTS[cut]((folder / "dvbpr" / name).read_bytes()))
    code = train_dvbpr.main(["--data", str(folder), "--out", str(tmp_path), *DVBPR])
    if code == 0 and cut == "zeros inside":  # weights have no checksum, and zeros are valid weights
        return
    assert faults(capsys, code, str(tmp_path / name), "train again", codes=(1,)) == []


def lsgan(tmp_path: Path, pictures: np.ndarray, labels: np.ndarray, *more: str) -> int:
    np.save(tmp_path / "x.npy", pictures)
    np.save(tmp_path / "y.npy", labels)
    files = ["--pictures", str(tmp_path / "x.npy"), "--labels", str(tmp_path / "y.npy"), "--out", str(tmp_path / "out")]
    return train_lsgan.main([*files, *LSGAN, *more])


def garments(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (count, 64, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write pictures and labels, and train a generator for one step."""
    place = tmp_path_factory.mktemp("generator")
    assert lsgan(place, garments(4), np.array([0, 0, 1, 1])) == 0
    return place


@pytest.mark.parametrize(
    ("count", "labels", "more"),
    [
        (0, np.zeros(0, np.int64), []),
        (0, np.zeros((0, 3), np.float32), []),
        (2, np.zeros(1, np.int64), []),
        (2, np.array([0.0, np.nan]), []),
        (2, np.array(["a", "b"]), []),
        (2, np.array([0, -1]), []),
        (2, np.array(0), []),
        (1, np.zeros(1, np.int64), ["--minimum-class", "32"]),
        (3, np.array([0, 0, 1]), ["--minimum-class", "2"]),
        (3, np.array([0, 0, 1]), ["--preset", "modern", "--balanced", "true"]),
        (1, np.zeros(1, np.int64), ["--grid-columns", "1"]),
        (3, np.array([0, 0, 2]), ["--minimum-class", "1"]),
    ],
)
def test_unusable_pictures_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int, labels: np.ndarray, more: list[str]
):
    assert faults(capsys, lsgan(tmp_path, garments(count), labels, *more)) == []


def test_training_on_one_picture_works_if_the_settings_allow_it(tmp_path: Path):
    assert lsgan(tmp_path, garments(1), np.zeros(1, np.int64)) == 0


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("name", ["x.npy", "y.npy", "out/last.pt"])
def test_the_error_for_a_damaged_file_of_the_generator_names_it(
    generator: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, cut: str
):
    shutil.copytree(generator, tmp_path, dirs_exist_ok=True)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(CUTS[cut](whole))
    files = ["--pictures", str(tmp_path / "x.npy"), "--labels", str(tmp_path / "y.npy"), "--out", str(tmp_path / "out")]
    code = train_lsgan.main([*files, *LSGAN])
    if code == 0 and cut == "zeros inside":
        return
    assert faults(capsys, code, str(tmp_path / name)) == []


@pytest.mark.parametrize("cut", [name for name in CUTS if name != "zeros inside"])
@pytest.mark.parametrize("name", ["meta.json", "generator.pt"])
def test_loading_a_damaged_generator_names_the_file(generator: Path, tmp_path: Path, name: str, cut: str):
    shutil.copytree(generator, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "out" / name
    path.write_bytes(CUTS[cut](path.read_bytes()))
    with pytest.raises(ValueError, match=re.escape(str(path))) as refused:
        train_lsgan.load_generator(tmp_path / "out", "cpu")
    assert not FOREIGN.search(str(refused.value))


@pytest.mark.parametrize("missing", ["x.npy", "y.npy"])
def test_the_error_for_a_missing_file_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], missing: str):
    lsgan(tmp_path, garments(2), np.array([0, 0]))
    capsys.readouterr()
    (tmp_path / missing).unlink()
    files = ["--pictures", str(tmp_path / "x.npy"), "--labels", str(tmp_path / "y.npy"), "--out", str(tmp_path / "out")]
    assert faults(capsys, train_lsgan.main([*files, *LSGAN]), str(tmp_path / missing), codes=(2,)) == []


def test_one_user_with_one_item_is_trained_or_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    whole = planted(users=20, epochs=1)
    none = np.zeros((0, 2), np.int32)
    one = dataclasses.replace(
        whole, bank=whole.bank[:1], bank_row=[0], image_item=[0], users=whole.users[:1], items=whole.items[:1],
        train=[[0, 0]], validation=none, test=none, triplets_user=np.zeros((1, 0)), triplets_positive=np.zeros((1, 0)),
        triplets_negative=np.zeros((1, 0, 1)), bank_digest="",
    )  # fmt: skip
    one.save(tmp_path)
    np.save(tmp_path / "features.npy", np.ones((1, 6), np.float32))
    assert faults(capsys, train_dvbpr.main(["--data", str(tmp_path), "--out", str(tmp_path / "d"), *DVBPR])) == []
    if train_modern.main(["--data", str(tmp_path), "--out", str(tmp_path / "m"), *MODERN]):
        assert faults(capsys, 1) == []


def test_the_error_for_an_output_folder_that_is_a_file_names_it(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "out").write_text("in the way")
    code = train_dvbpr.main(["--data", str(folder), "--out", str(tmp_path / "out"), *DVBPR])
    assert faults(capsys, code, str(tmp_path / "out"), codes=(1, 2)) == []


def test_the_error_for_diverged_training_says_what_to_do(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    options = [*DVBPR, "--learning-rate", "1e30"]
    code = train_dvbpr.main(["--data", str(folder), "--out", str(tmp_path / "out"), *options])
    assert faults(capsys, code, "not a number", "Lower learning_rate", codes=(1,)) == []
