"""Fetch the evaluation data sets, if present: real pictures from a host with faults, and real URLs."""

import gzip
import hashlib
import json
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from pipeline.core.address import literal_address, target
from pipeline.core.images.fetch import FetchSettings, fetch
from pipeline.core.images.ledger import PictureStore

DATASETS = Path(__file__).parents[4] / "../shared/datasets"
FASHION = DATASETS / "amazon_fashion_5" / "AMAZON_FASHION_5.json.gz"
URLS = 2000

# Fault kinds of shared/datasets/serve.py: status and reason.
MEANING = {
    None: ("ok", "ok"),
    "unavailable": ("ok", "ok"),  # 503 twice, then the picture
    "redirect": ("ok", "ok"),
    "not_found": ("gone", "http_404"),
    "truncated": ("transient", "truncated"),
    "html": ("invalid", "not_a_picture"),
    "tiny_gif": ("invalid", "too_small"),
    "hang": ("transient", "timeout"),  # 30 s, longer than the time limit here
    "oversized": ("invalid", "too_large"),
}


@pytest.mark.skipif(not DATASETS.is_dir(), reason="the evaluation data sets are not beside this checkout")
def test_of_2000_urls_every_fault_gets_its_reason_and_every_good_picture_is_kept(tmp_path: Path) -> None:
    sys.path.insert(0, str(DATASETS))
    try:
        from serve import fault_of
    finally:
        sys.path.remove(str(DATASETS))
    first_tar = min((DATASETS / "hm").glob("images-h50-*.tar"))
    wanted: dict[str, bytes] = {}
    with tarfile.open(first_tar) as tar:
        while len(wanted) < URLS and (member := tar.next()) is not None:
            if member.isfile():
                wanted[member.name] = tar.extractfile(member).read()  # type: ignore[union-attr]
    (tmp_path / "tars").mkdir()
    (tmp_path / "tars" / first_tar.name).symlink_to(first_tar.resolve())  # one tar: indexing all takes seconds
    command = [sys.executable, DATASETS / "serve.py", "--port", "0", "--faults", "0.3", "--tars", tmp_path / "tars"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    store = PictureStore(tmp_path / "pictures")
    try:
        assert process.stdout is not None
        host = process.stdout.readline().strip().rpartition("//")[2]
        settings = FetchSettings(
            allow_hosts=frozenset({host}), per_host=64, backoff=0.001, read_timeout=1.0, retries=2, host_failures=0
        )
        fetch((f"http://{host}/{name}" for name in wanted), store, settings)
    finally:
        process.terminate()
        process.wait()
    kinds = {name: fault_of(f"/{name}", 0.3) for name in wanted}
    assert min(Counter(kinds.values()).values()) > 40 and len(set(kinds.values())) == len(MEANING)
    got = {row["url"].removeprefix(f"http://{host}/"): row for row in store.ledger().to_pylist()}
    assert {name: (row["status"], row["reason"]) for name, row in got.items()} == {
        name: MEANING[kind] for name, kind in kinds.items()
    }
    good = {name for name, row in got.items() if row["status"] == "ok"}
    assert {name: got[name]["sha256"] for name in good} == {
        name: hashlib.sha256(wanted[name]).hexdigest() for name in good
    }
    stored = dict(store.read({got[name]["sha256"] for name in good}))
    assert set(stored.values()) == {wanted[name] for name in good}


@pytest.mark.skipif(not FASHION.is_file(), reason="the evaluation data sets are not beside this checkout")
def test_every_customer_picture_of_amazon_fashion_has_a_fetchable_url() -> None:
    with gzip.open(FASHION, "rt") as lines:
        urls = [url for line in lines for url in json.loads(line).get("image") or []]
    assert len(urls) > 100
    for url in urls:
        asked = target(url)
        assert asked is not None, url
        assert (asked.scheme, asked.port, asked.url) == ("https", 443, url)
        assert literal_address(asked.host) is None and "." in asked.host  # a name; the socket checks its address
