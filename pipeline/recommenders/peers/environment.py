"""Install a peer's packages into a Python environment of their own under the home, and run a worker script with it.

The environment finds this project's packages, such as torch, behind its own ones, so that a peer may pin other
versions and nothing large is installed twice. What the worker reads and writes does not belong here.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.durable import held
from pipeline.recommenders.contract import NotApplicableError

INSTALL_SECONDS = 1800  # at most for one installation; a slow one takes a minute
SHARED = "ATELIER_PEER_PACKAGES"  # set for each worker, as the home may outlive this checkout
_PATH_FILE = f'import os, sys; sys.path.extend(filter(None, os.environ.get("{SHARED}", "").split(os.pathsep)))\n'
_QUOTED = 5  # lines of a failed program's output in the message
_NOT_APPLICABLE = 3  # exit code of a worker that cannot learn from the data


class PeerError(RuntimeError):
    """A peer's program failed, took too long, or returned something else than scores."""


class NotInstalledError(NotApplicableError):
    """A peer's packages could not be installed."""


@dataclass(frozen=True)
class _Failure:
    """How a program failed. `code`: exit code, or minus the signal; None if it took too long."""

    code: int | None
    said: str  # its last lines

    def __str__(self) -> str:
        if self.code is None:
            return self.said
        return f"{'was killed by signal' if self.code < 0 else 'failed with exit code'} {abs(self.code)}:\n{self.said}"


@dataclass(frozen=True)
class PeerEnvironment:
    """The packages of a peer. They are installed without their dependencies: list those that this project lacks."""

    name: str  # of its folder, and in messages
    requirements: tuple[str, ...]  # pinned, the peer itself first
    imports: str  # the module whose import shows that the installation works

    @property
    def version(self) -> str:
        """Return the peer's own package and version, in words."""
        return self.requirements[0].replace("==", " ")

    def installed(self, home: Path) -> Path:
        """Return the environment's Python; create the environment on first use, or if the requirements changed.

        Raises:
            NotInstalledError: a package could not be fetched, built or imported; the message quotes the installer.
        """
        folder = home / "peers" / self.name
        python, ready = folder / "bin" / "python", folder / "ready.json"
        with held(home / "peers" / f"{self.name}.lock"):
            if not (ready.is_file() and json.loads(ready.read_text()) == self._made_by()):
                self._create(folder, python)
                ready.write_text(json.dumps(self._made_by()))
        return python

    def run(self, home: Path, worker: Path, arguments: Sequence[str | Path], seconds: float) -> None:
        """Run a worker script with the environment's Python, for at most `seconds`.

        Raises:
            NotInstalledError: as `installed`.
            NotApplicableError: the worker cannot learn from this data, and says why.
            PeerError: the worker failed, was killed or took too long; the message quotes its output.
        """
        python = self.installed(home)
        # Without -P the worker's folder comes first, where cornac.py of this project hides Cornac.
        failed = _run([python, "-P", worker, *arguments], seconds)
        if failed is None:
            return
        if failed.code == _NOT_APPLICABLE:
            raise NotApplicableError(f"{self.version}: {failed.said}")
        raise PeerError(f"{self.version} {failed}")

    def _made_by(self) -> dict[str, str | list[str]]:
        return {"requirements": list(self.requirements), "python": sys.version}

    def _create(self, folder: Path, python: Path) -> None:
        uv = shutil.which("uv")
        install = [uv, "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
        quiet = ["--quiet", "--no-deps", *self.requirements]
        try:
            venv.create(folder, with_pip=uv is None, clear=True)
        except (subprocess.CalledProcessError, OSError) as error:
            raise self._not_installed(folder, f"failed: {error}") from error
        path_file = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
        (path_file / "atelier.pth").write_text(_PATH_FILE)
        for command in ([*install, *quiet], [python, "-c", f"import {self.imports}"]):
            failed = _run(command, INSTALL_SECONDS)
            if failed is not None:
                raise self._not_installed(folder, failed)

    def _not_installed(self, folder: Path, failed: object) -> NotInstalledError:
        return NotInstalledError(
            f"{self.version} could not be installed into {folder}, the installation {failed}\n"
            "It needs the package registry and, without a ready-made wheel, a compiler. Other models do not need it."
        )


def _run(command: Sequence[str | Path], seconds: float) -> _Failure | None:
    """Run a command for at most `seconds`; return how it failed, or None."""
    environment = {**os.environ, SHARED: sysconfig.get_path("purelib"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    environment.pop("PYTHONPATH", None)  # would come before the peer's own packages
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", env=environment,
        start_new_session=True,
    ) as started:  # fmt: skip
        try:
            _, said = started.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            _end(started)
            return _Failure(None, f"took longer than {seconds:.0f} s and was ended")
        except BaseException:
            _end(started)  # it is in a session of its own: a Ctrl-C does not reach it
            raise
    if not started.returncode:
        return None
    last = [line for line in said.strip().splitlines() if line.strip()][-_QUOTED:]
    return _Failure(started.returncode, "\n".join(last))


def _end(started: subprocess.Popen) -> None:
    """Kill a process and those that it started."""
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
