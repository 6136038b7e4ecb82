"""A peer is installed once, with its own versions before ours; what fails says what failed and what to do."""

import json
import os
import signal
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pipeline.recommenders.contract import NotApplicableError
from pipeline.recommenders.peers import environment
from pipeline.recommenders.peers.environment import NotInstalledError, PeerEnvironment, PeerError

pytestmark = pytest.mark.slow

WORKER = """
import json, sys
import jinja2, numpy, peer_of_test
json.dump([peer_of_test.WHAT, jinja2.__version__, numpy.__version__], open(sys.argv[1], "w"))
"""


def wheel(folder: Path, version: str, **modules: str) -> Path:
    """Write a package of single modules, as a wheel."""
    path = folder / f"peer_of_test-{version}-py3-none-any.whl"
    information = f"peer_of_test-{version}.dist-info"
    files = {f"{name}.py": text for name, text in modules.items()}
    files[f"{information}/METADATA"] = f"Metadata-Version: 2.1\nName: peer-of-test\nVersion: {version}\n"
    files[f"{information}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    listed = "".join(f"{name},,\n" for name in [*files, f"{information}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, f"{information}/RECORD": listed}.items():
            archive.writestr(name, text)
    return path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def peer(home: Path) -> PeerEnvironment:
    """A peer that brings its own version of a package that this project has too."""
    path = wheel(home, "1.0", peer_of_test="WHAT = 'installed'", jinja2="__version__ = 'its own'")
    return PeerEnvironment("peer", (str(path),), "peer_of_test")


def test_a_worker_finds_the_peer_its_own_versions_and_then_our_packages(
    home: Path, peer: PeerEnvironment, tmp_path: Path
) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    peer.run(home, tmp_path / "worker.py", [tmp_path / "out.json"], seconds=60)
    assert json.loads((tmp_path / "out.json").read_text()) == ["installed", "its own", np.__version__]


def test_a_module_beside_the_worker_does_not_hide_the_peer(home: Path, peer: PeerEnvironment, tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text(WORKER)
    (tmp_path / "peer_of_test.py").write_text("WHAT = 'beside the worker'")
    peer.run(home, tmp_path / "worker.py", [tmp_path / "out.json"], seconds=60)
    assert json.loads((tmp_path / "out.json").read_text())[0] == "installed"


def test_what_is_installed_is_not_installed_again_unless_the_requirements_change(
    home: Path, peer: PeerEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = peer.installed(home)
    made: list[Path] = []

    def create(folder: Path, **_: object) -> None:
        made.append(folder)
        raise OSError("nothing is installed in this test")

    monkeypatch.setattr(environment.venv, "create", create)
    assert peer.installed(home) == python and not made
    with pytest.raises(NotInstalledError, match="nothing is installed in this test"):
        PeerEnvironment(peer.name, ("peer-of-test==2.0",), peer.imports).installed(home)
    assert made == [python.parents[1]]


def test_an_installation_that_was_interrupted_begins_anew(home: Path, peer: PeerEnvironment) -> None:
    python = peer.installed(home)
    (python.parents[1] / "ready.json").unlink()
    next(python.parents[1].glob("lib/python*/site-packages/peer_of_test.py")).unlink()
    peer.installed(home)
    assert list(python.parents[1].glob("lib/python*/site-packages/peer_of_test.py"))


def test_a_package_that_is_not_there_is_named_with_the_installers_words(tmp_path: Path) -> None:
    absent = PeerEnvironment("absent", (str(tmp_path / "absent-1.0-py3-none-any.whl"),), "absent")
    with pytest.raises(NotInstalledError) as error:
        absent.installed(tmp_path)
    said = str(error.value)
    assert "absent-1.0" in said and "could not be installed" in said and "failed with exit code" in said
    assert "It needs the package registry" in said
    assert not (tmp_path / "peers" / "absent" / "ready.json").exists()


def test_a_package_that_cannot_be_imported_is_not_installed(home: Path, tmp_path: Path) -> None:
    path = wheel(tmp_path, "3.0", peer_of_test="import a_library_that_this_machine_lacks")
    with pytest.raises(NotInstalledError, match="a_library_that_this_machine_lacks"):
        PeerEnvironment("broken", (str(path),), "peer_of_test").installed(tmp_path)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> PeerEnvironment:
    """A peer whose Python is ours."""
    monkeypatch.setattr(PeerEnvironment, "installed", lambda *_: Path(sys.executable))
    return PeerEnvironment("here", ("here==1.0",), "sys")


def run(peer: PeerEnvironment, folder: Path, worker: str, seconds: float = 60) -> None:
    (folder / "worker.py").write_text(worker)
    peer.run(folder, folder / "worker.py", [folder], seconds)


def test_a_worker_that_fails_is_quoted(here: PeerEnvironment, tmp_path: Path) -> None:
    with pytest.raises(PeerError, match=r"(?s)here 1.0 failed with exit code 1:.*ZeroDivisionError"):
        run(here, tmp_path, "1 / 0")


def test_a_worker_that_is_killed_says_by_which_signal(here: PeerEnvironment, tmp_path: Path) -> None:
    with pytest.raises(PeerError, match=f"was killed by signal {signal.SIGKILL:d}"):
        run(here, tmp_path, "import os; os.kill(os.getpid(), 9)")


def test_a_worker_that_cannot_learn_from_the_data_says_why(here: PeerEnvironment, tmp_path: Path) -> None:
    with pytest.raises(NotApplicableError, match=r"here 1\.0: too few weeks"):
        run(here, tmp_path, "import sys; print('too few weeks', file=sys.stderr); sys.exit(3)")


def test_a_worker_that_hangs_is_ended_with_what_it_started(here: PeerEnvironment, tmp_path: Path) -> None:
    hanging = (
        "import os, pathlib, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "pathlib.Path(sys.argv[1], 'child').write_text(str(child.pid))\n"
        "child.wait()\n"
    )
    with pytest.raises(PeerError, match=r"here 1\.0 took longer than 3 s and was ended"):
        run(here, tmp_path, hanging, seconds=3)
    assert ended(int((tmp_path / "child").read_text()))


def ended(process: int) -> bool:
    """Wait until a process has ended, for at most ten seconds."""
    for _ in range(1000):
        state = Path(f"/proc/{process}/stat")
        if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.01)
    return False


def test_a_python_path_of_the_caller_does_not_come_before_the_peers_packages(
    here: PeerEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "of the caller"))
    run(here, tmp_path, "import pathlib, sys; pathlib.Path(sys.argv[1], 'path').write_text('\\n'.join(sys.path))")
    assert str(tmp_path / "of the caller") not in (tmp_path / "path").read_text().splitlines()
    assert os.environ["PYTHONPATH"] == str(tmp_path / "of the caller")
