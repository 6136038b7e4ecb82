"""MLflow's files in an S3-compatible store, set by environment variables: written, served and erased there."""

from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.core.errors import InputError
from pipeline.home import environment
from pipeline.upkeep import mlflow_records
from tests.pipeline.champions.test_model_registry import NAME, RegistryShop
from tests.pipeline.little_shop import MODE

pytestmark = pytest.mark.slow

BUCKET, PLACE = "shop", "atelier/mlflow"


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    """A real server on loopback with an empty bucket, set in the environment."""
    moto = pytest.importorskip("moto.server", reason="no S3-compatible server here: pip install 'moto[server]'")
    import boto3

    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ATELIER_ARTIFACTS", f"s3://{BUCKET}/{PLACE}")
            patch.setenv("MLFLOW_S3_ENDPOINT_URL", address)
            patch.setenv("AWS_ACCESS_KEY_ID", "atelier")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            made = boto3.resource("s3", endpoint_url=address).Bucket(BUCKET)
            made.create()
            yield made
    finally:
        server.stop()


@pytest.fixture(scope="module")
def desk(bucket: Any, tmp_path_factory: pytest.TempPathFactory) -> RegistryShop:
    """A shop with the tracker that the environment configures."""
    folder = tmp_path_factory.mktemp("desk")
    return RegistryShop(folder, environment.artifact_root(folder))


def kept(bucket: Any) -> set[str]:
    return {entry.key for entry in bucket.objects.all()}


def test_a_model_is_written_to_the_store_served_from_it_and_erased_there(desk: RegistryShop, bucket: Any):
    import mlflow
    import pandas as pd

    version = desk.enter("first").version
    names = kept(bucket)
    assert names and all(name.startswith(PLACE + "/") for name in names)
    assert any(name.endswith("artifacts/recommender/factors.npz") for name in names)
    home = desk.shop.storage.home
    assert not list(home.parent.glob("artifacts*")) and not list(
        home.rglob("MLmodel")
    )  # nothing is left on this machine

    served = mlflow.pyfunc.load_model(str(desk.store.folder(version)))
    picks = served.predict(pd.DataFrame({"user_id": [f"R{desk.shop.data.users[0]}"], "k": [3.0]}))
    assert picks["known"].all() and picks["rank"].tolist() == [1, 2, 3]

    trained = desk.shop.storage.model("recommender", version.made, MODE)
    assert mlflow_records.withdraw(desk.tracker, {str(trained.path)}, home) >= 1
    assert not [name for name in kept(bucket) if "recommender" in name] and desk.store.champion(NAME) is None
    with pytest.raises(InputError, match=f"the files of {version.uri} cannot be read"):
        desk.store.folder(version)


def test_an_unreachable_store_fails_the_stage_and_leaves_no_version(
    desk: RegistryShop, bucket: Any, monkeypatch: pytest.MonkeyPatch
):
    known = len(desk.store.versions(NAME))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Exception, match=r"127\.0\.0\.1:9"):
        desk.enter("third")
    assert len(desk.store.versions(NAME)) == known
