"""`python -m pipeline.check` over a small home: every kind of file, one bit flipped at several places."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
import torch

from pipeline.champions import succession
from pipeline.champions.model_registry import Registry
from pipeline.core import digests
from pipeline.core import parquet as pq
from pipeline.core.errors import DamagedFileError
from pipeline.core.images.bank import open_bank
from pipeline.runtime.tracking import Tracker
from pipeline.settings.assets import ChampionSettings
from pipeline.upkeep import scrub as check
from tests.pipeline.core.test_digests import flip
from tests.pipeline.little_shop import CPU, MODE, LittleShop, little_shop

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> LittleShop:
    """A home with tables, pictures, a bank, features, garments, a model and its registered version."""
    home = tmp_path_factory.mktemp("check") / "home"
    shop = little_shop(home)
    (home / "tables" / "splits").mkdir(parents=True)
    pq.write_table(shop.splits, home / "tables" / "splits" / f"{MODE}.parquet")
    pq.write_table(shop.users, home / "tables" / "users.parquet")
    rng = np.random.default_rng(0)
    shop.storage.save_garments("g", rng.integers(0, 255, (20, 64, 64, 3), np.uint8))
    features = shop.storage.features("f")
    features.parent.mkdir()
    np.save(features, rng.standard_normal((len(shop.catalogue), 40)).astype(np.float32))
    digests.write_sums(features, np.load(features))
    trained = shop.finish("first")
    tracker = Tracker(
        tracking_uri=f"sqlite:///{home}/mlflow/mlflow.db", artifact_root=str(home / "mlflow" / "artifacts")
    )

    @dg.asset
    def recommender_champion(context: dg.AssetExecutionContext) -> None:
        with tracker.run(context) as tracked:
            args = (shop.storage, MODE, trained, shop.names, ChampionSettings(minimum=20), CPU)
            version = succession.recommender(tracked, *args).version
            assert Registry(tracker.client(), tracker.tracking_uri).folder(version).is_dir()

    assert dg.materialize([recommender_champion]).success
    return shop


def in_a_page(path: Path, place: float) -> int:
    """Somewhere among the values of the first column."""
    column = pq.read_metadata(path).row_group(0).column(0)
    return column.data_page_offset + int(column.total_compressed_size * (0.5 + place / 2)) - 1


def findings(home: Path, state: str = check.DAMAGED) -> list[check.Finding]:
    found = list(check.verify(home, home / "mlflow" / "artifacts"))
    return [each for each in found if each.state == state]


KINDS = {
    "tables/users.parquet": "materialise users again",
    f"tables/splits/{MODE}.parquet": f"materialise splits for {MODE} again",
    "pictures/pictures-*.parquet": "its pictures are fetched again",
    "pictures/ledger-*.parquet": "its URLs are requested again",
    "bank/index-*.parquet": "materialise image_bank",
    "bank/pixels-*.npy": "materialise image_bank",
    "features/f.npy": "materialise image_features",
    "garments/g.npy": "materialise garments",
    f"recommender/{MODE}/first/best.pt": "then materialise dvbpr",
    f"recommender/{MODE}/first/factors.npz": "then materialise dvbpr",
    f"recommender/{MODE}/first/splits.parquet": "delete its folder",
    "mlflow/artifacts/**/best.pt": "bring it back from a copy",
    "mlflow/artifacts/**/shop.npz": "bring it back from a copy",
    "mlflow/artifacts/**/served_model.py": "bring it back from a copy",
}


def test_a_whole_home_is_whole(shop: LittleShop):
    home = shop.storage.home
    assert findings(home) == [] and findings(home, check.UNKNOWN) == []
    assert len(findings(home, check.WHOLE)) > 50


@pytest.mark.parametrize("pattern", KINDS)
@pytest.mark.parametrize("place", [0.3, 0.6])
def test_a_flipped_bit_is_found_by_the_scrub(shop: LittleShop, pattern: str, place: float):
    home = shop.storage.home
    path = sorted(home.glob(pattern))[0]
    at = int(place * path.stat().st_size) if path.suffix != ".parquet" else in_a_page(path, place)
    flip(path, at, bit=2)
    try:
        [found] = findings(home)
    finally:
        flip(path, at, bit=2)
    assert found.path == str(path.relative_to(home)) and KINDS[pattern] in found.mend and found.problem


def test_a_flipped_bit_is_noticed_where_the_file_is_opened(shop: LittleShop, monkeypatch: pytest.MonkeyPatch):
    storage = shop.storage
    model = storage.current("recommender", MODE)
    monkeypatch.setattr(digests, "SAMPLES", 10_000)  # every row: chance decides which an opening sees
    for path, opening in (
        (next(storage.bank.glob("pixels-*.npy")), lambda: open_bank(storage.bank)),
        (storage.garments / "g.npy", lambda: storage.load_garments("g")),
    ):
        flip(path, path.stat().st_size // 2)
        with pytest.raises(DamagedFileError, match="materialise"):
            opening()
        flip(path, path.stat().st_size // 2)
        opening()
    path = model.path / "factors.npz"
    flip(path, 1000)
    digests._known.cache_clear()  # as a process that opens it for the first time
    with pytest.raises(
        DamagedFileError, match=r"factors\.npz: damaged or missing: delete that folder, .* then materialise dvbpr"
    ):
        _ = model.verified
    flip(path, 1000)
    digests._known.cache_clear()
    assert model.verified == model.path


def test_a_home_of_an_earlier_version_opens_and_says_that_nothing_is_known(shop: LittleShop, tmp_path: Path):
    home = Path(shutil.copytree(shop.storage.home, tmp_path / "home"))
    for path in (*home.rglob("*.sums"), *home.rglob(digests.LIST)):
        path.unlink()
    manifest = home / "recommender" / MODE / "first" / "manifest.json"
    told = json.loads(manifest.read_text())
    del told["files"]
    manifest.write_text(json.dumps(told))
    assert findings(home) == []
    [bank] = home.glob("bank/pixels-*.npy")
    unknown = [found.path for found in findings(home, check.UNKNOWN)]
    assert unknown == [f"recommender/{MODE}/first", f"bank/{bank.name}", "features/f.npy", "garments/g.npy"]
    assert torch.load(home / "recommender" / MODE / "first" / "best.pt", weights_only=True)
    assert len(open_bank(home / "bank").pixels) == len(shop.catalogue)


def test_the_command_ends_with_what_it_found(shop: LittleShop, tmp_path: Path):
    home = Path(shutil.copytree(shop.storage.home, tmp_path / "home"))

    def ends(*options: str, at: Path = home) -> tuple[int, str]:
        variables = {**os.environ, "ATELIER_HOME": str(at)}
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.check", *options], cwd=ROOT, env=variables, capture_output=True, text=True,
            check=False, timeout=120,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    code, said = ends()
    assert code == 0 and "0 damaged" in said
    (home / "tables" / "users.parquet").write_bytes(b"PAR1" + bytes(100))
    code, said = ends("--json")
    told = json.loads(said)
    assert code == 1 and told["files"]["damaged"] == 1
    assert told["findings"][0]["path"] == "tables/users.parquet" and "materialise users" in told["findings"][0]["mend"]
    code, said = ends(at=tmp_path / "nowhere")
    assert code == 2 and "is no home" in said
