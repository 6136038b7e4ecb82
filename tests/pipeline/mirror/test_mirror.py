"""A home's copy in a store: equal on another machine, whole at every moment, and never written over other work."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.core.errors import InputError
from pipeline.mirror import background_sync, sync
from pipeline.mirror.__main__ import main
from pipeline.mirror.store import ChangedFileError, OutrunError, Store
from tests.pipeline.mirror.object_store import Bucket, bucket, point, refusing


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch):
    with bucket(monkeypatch) as made:
        yield made


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


def a_home(path: Path, files: int = 20) -> Path:
    """Write a home like a run's: tables, a model with its pointer, pictures and their ledger, databases, scratch."""
    draw = random.Random(0)
    for number in range(files):
        write(path / "tables" / f"table-{number}.parquet", draw.randbytes(500 + number))
    write(path / "recommender" / "vendor_all" / "abc" / "last.pt", draw.randbytes(90_000))
    write(path / "recommender" / "vendor_all" / "abc" / "manifest.json", b"{}")
    write(path / "recommender" / "vendor_all" / "current.json", b'{"run": "abc"}')
    write(path / "pictures" / "pictures-1.parquet", draw.randbytes(5_000))
    write(path / "pictures" / "ledger-1.parquet", draw.randbytes(300))
    for left_out in ("dagster/runs.db", "mlflow/mlflow.db", "bank/pixels.npy", "staged/x.parquet", "pictures/lock"):
        write(path / left_out, b"not to be copied")
    write(path / "tables" / "half.parquet.tmp", b"half a ta")
    return path


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def contents(home: Path) -> dict[str, bytes]:
    """Read the files of a home that are copied, by name."""
    out = {"dagster", "mlflow", "bank", "staged", "store.json"}
    return {
        path.relative_to(home).as_posix(): path.read_bytes()
        for path in sorted(home.rglob("*"))
        if path.is_file()
        and path.relative_to(home).parts[0] not in out
        and path.name != "lock"
        and path.suffix != ".tmp"
    }


def test_another_machine_has_the_same_home_after_a_push_and_a_pull_through_s3(tmp_path: Path, s3: Bucket):
    here, there = a_home(tmp_path / "here"), tmp_path / "there"
    there.mkdir()
    assert sync.push(here, Store(s3.address)).files == 25
    assert sync.pull(there, Store(s3.address)).files == 25
    assert contents(there) == contents(here)
    assert "recommender/vendor_all/abc/last.pt" in contents(there)
    assert not (there / "mlflow").exists() and not (there / "bank").exists()


def test_a_second_push_copies_what_changed_and_nothing_else(tmp_path: Path, s3: Bucket):
    here, there = a_home(tmp_path / "here"), tmp_path / "there"
    there.mkdir()
    sync.push(here, Store(s3.address))
    sync.pull(there, Store(s3.address))
    assert sync.push(here, Store(s3.address)) is None
    write(here / "tables" / "table-3.parquet", b"new rows")
    (here / "tables" / "table-4.parquet").unlink()
    copied = sync.push(here, Store(s3.address), grace=0)
    assert (copied.snapshot, copied.files, copied.bytes) == (2, 1, 8)
    assert copied.removed == 2, "the objects that no snapshot names any more"
    copied = sync.pull(there, Store(s3.address))
    assert (copied.files, copied.removed) == (1, 1)
    assert contents(there) == contents(here)


def test_a_home_within_the_home_is_not_copied(tmp_path: Path, folder: Store):
    here = a_home(tmp_path / "here")
    before = contents(here)
    write(here / "format.json", b'{"format": 1}')  # the home's own record excludes nothing
    for name in ("format.json", "dagster/runs.db", "tables/users.parquet", "recommender/vendor_all/current.json"):
        write(here / "demo" / name, b"the demo's")
    sync.push(here, folder)
    assert folder.latest().files.keys() == before.keys()
    (here / "demo" / "format.json").unlink()
    assert sync.push(here, folder).files > 0, "a folder that is no home is copied"


def test_a_checkpoint_larger_than_one_part_arrives_whole(tmp_path: Path, s3: Bucket):
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    write(here / "recommender" / "last.pt", os.urandom(1 << 20) * 60)
    sync.push(here, Store(s3.address))
    sync.pull(there, Store(s3.address))
    assert contents(there) == contents(here)


def test_equal_files_are_one_object(tmp_path: Path, folder: Store):
    here = tmp_path / "here"
    for name in "abc":
        write(here / "tables" / name, b"the same")
    sync.push(here, folder)
    assert len(folder.objects()) == 1


def test_of_two_machines_that_push_the_second_fails_and_keeps_its_files(tmp_path: Path, folder: Store):
    one, other = a_home(tmp_path / "one"), tmp_path / "other"
    other.mkdir()
    sync.push(one, folder)
    sync.pull(other, folder)
    write(one / "tables" / "table-1.parquet", b"of one")
    write(other / "tables" / "table-1.parquet", b"of the other")
    write(other / "tables" / "table-2.parquet", b"of the other")
    sync.push(one, folder)
    with pytest.raises(OutrunError, match=r"snapshot 2 of .*pull"):
        sync.push(other, folder)
    with pytest.raises(InputError, match=r"2 files in .* changed here: tables/table-1\.parquet.*--over"):
        sync.pull(other, folder)
    assert (other / "tables" / "table-1.parquet").read_bytes() == b"of the other"
    sync.pull(other, folder, over=True)
    assert (other / "tables" / "table-1.parquet").read_bytes() == b"of one"


def test_a_snapshot_number_is_used_once(tmp_path: Path, folder: Store, s3: Bucket):
    for store in (folder, Store(s3.address)):
        empty = store.latest()
        store.write(empty, {})
        with pytest.raises(OutrunError):
            store.write(empty, {})


def test_a_home_does_not_overwrite_a_store_that_it_never_pulled(tmp_path: Path, folder: Store):
    sync.push(a_home(tmp_path / "one"), folder)
    with pytest.raises(OutrunError):
        sync.push(a_home(tmp_path / "two", files=3), folder)


@pytest.mark.parametrize("refused", [3, 25])
def test_a_store_that_fails_for_a_while_has_the_home_in_the_end(tmp_path, s3: Bucket, monkeypatch, refused: int):
    here, there, messages = a_home(tmp_path / "here"), tmp_path / "there", []
    there.mkdir()
    with refusing(s3.port, after=12, times=refused) as server:
        point(monkeypatch, server.port)
        monkeypatch.setenv("ATELIER_STORE", s3.address)
        with background_sync.synchronised(here, messages.append, timeout=120):
            pass
        assert server.refused == refused
    point(monkeypatch, s3.port)
    sync.pull(there, Store(s3.address))
    assert contents(there) == contents(here)


def test_a_store_that_keeps_failing_is_reported_and_the_home_is_whole(tmp_path: Path, s3: Bucket, monkeypatch):
    here = a_home(tmp_path / "here")
    before = contents(here)
    monkeypatch.setenv("ATELIER_STORE", s3.address)
    with refusing(s3.port, after=10**9, times=10**9) as server:
        point(monkeypatch, server.port)
        with (
            pytest.raises(OSError, match=r"python -m pipeline\.mirror push"),
            background_sync.synchronised(here, print, timeout=0),
        ):
            server.after = 0
    assert contents(here) == before


def test_files_are_copied_during_a_run(tmp_path: Path, folder: Store, monkeypatch):
    here = a_home(tmp_path / "here")
    monkeypatch.setenv("ATELIER_STORE", folder.address)
    with background_sync.synchronised(here, print, interval=0.05):
        write(here / "recommender" / "vendor_all" / "new" / "last.pt", b"epoch 1")
        deadline = time.monotonic() + 20
        while "recommender/vendor_all/new/last.pt" not in folder.latest().files:
            assert time.monotonic() < deadline
            time.sleep(0.05)


PUSHES = """
import sys
from pathlib import Path
from pipeline.mirror import sync
from pipeline.mirror.store import Store
print("ready", flush=True)
getattr(sync, sys.argv[1])(Path(sys.argv[2]), Store(sys.argv[3]))
"""


@pytest.mark.parametrize("what", ["push", "pull"])
def test_a_push_or_pull_killed_at_any_moment_continues_and_ends_equal(tmp_path: Path, folder: Store, what: str):
    here, there = a_home(tmp_path / "here", files=400), tmp_path / "there"
    there.mkdir()
    if what == "pull":
        sync.push(here, folder)
    home = here if what == "push" else there
    killed = 0
    for wait in (0.0, 0.02, 0.04, 0.08):
        process = subprocess.Popen(
            [sys.executable, "-c", PUSHES, what, str(home), folder.address], stdout=subprocess.PIPE, cwd=Path.cwd()
        )
        process.stdout.readline()
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        # Every object of the snapshot is whole, and no pointer of the home names a missing file.
        objects = folder.objects()
        for stored in folder.latest().files.values():
            assert objects[stored.sha256][0] == stored.size
        if (home / "recommender" / "vendor_all" / "current.json").is_file():
            assert (home / "recommender" / "vendor_all" / "abc" / "last.pt").is_file()
    assert killed >= 2
    sync.push(here, folder)
    sync.pull(there, folder)
    assert contents(there) == contents(here)


def test_a_database_in_use_is_copied_consistently(tmp_path: Path, folder: Store):
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    (here / "tuning").mkdir(parents=True)
    with sqlite3.connect(here / "tuning" / "optuna.db") as search:
        search.execute("create table trials (n int)")
        search.execute("insert into trials values (1)")
        search.commit()
        search.execute("insert into trials values (2)")  # not committed
        sync.push(here, folder)
    sync.pull(there, folder)
    with sqlite3.connect(there / "tuning" / "optuna.db") as copied:
        assert copied.execute("select * from trials").fetchall() == [(1,)]


def test_a_damaged_object_is_refused_and_the_local_file_stays(tmp_path: Path, folder: Store):
    here, there = a_home(tmp_path / "here"), tmp_path / "there"
    there.mkdir()
    sync.push(here, folder)
    sync.pull(there, folder)
    write(here / "tables" / "table-1.parquet", b"the new table")
    sync.push(here, folder)
    stored = folder.latest().files["tables/table-1.parquet"]
    Path(folder._object(stored.sha256).path).write_bytes(b"an odd one...")
    before = contents(there)
    with pytest.raises(RuntimeError, match="is damaged"):
        sync.pull(there, folder)
    assert contents(there) == before


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "tables/../../x", "dagster/dagster.yaml", "a\\b"])
def test_a_store_that_names_files_outside_the_home_is_refused(tmp_path: Path, folder: Store, name: str):
    sync.push(a_home(tmp_path / "here"), folder)
    snapshot = tmp_path / "store" / "snapshots" / "00000001.json"
    content = json.loads(snapshot.read_text())
    content["files"] = {name: next(iter(content["files"].values()))}
    snapshot.write_text(json.dumps(content))
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="not an Atelier store"):
        sync.pull(tmp_path / "there", folder)


def test_a_file_that_changes_while_it_is_copied_leaves_no_object_in_the_store(tmp_path: Path, folder: Store):
    here = a_home(tmp_path / "here")
    index = sync.Index.of(here, folder.address)
    path = here / "tables" / "table-1.parquet"
    stat, stored = sync._digest_of(index, "tables/table-1.parquet", path)
    write(here / "other", b"x" * stored.size)
    (here / "other").replace(path)
    with pytest.raises(ChangedFileError):
        folder.put(path, stored, stat)
    assert stored.sha256 not in folder.objects()


def test_the_command_reports_the_state_of_home_and_store(tmp_path: Path, monkeypatch, capsys):
    a_home(tmp_path / "here")
    monkeypatch.setenv("ATELIER_HOME", str(tmp_path / "here"))
    monkeypatch.delenv("ATELIER_STORE", raising=False)
    assert main(["push"]) == 2 and "ATELIER_STORE is not set" in capsys.readouterr().out
    monkeypatch.setenv("ATELIER_STORE", "nosuch://place")
    assert main(["push"]) == 2 and "s3://bucket/prefix" in capsys.readouterr().out
    monkeypatch.setenv("ATELIER_STORE", str(tmp_path / "store"))
    assert main(["push"]) == 0 and "25 files" in capsys.readouterr().out
    assert main(["push"]) == 0 and "nothing to copy" in capsys.readouterr().out
    assert main(["show"]) == 0 and "synchronised with snapshot 1" in capsys.readouterr().out
