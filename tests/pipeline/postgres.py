"""Run a real PostgreSQL server from the machine's package, on loopback and not as root, for one test."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def binaries() -> Path:
    """Find the folder of initdb and postgres; skip the test if there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    elsewhere = shutil.which("initdb")
    if elsewhere is None:
        pytest.skip("no PostgreSQL server here: apt-get install postgresql")
    return Path(elsewhere).resolve().parent


@contextmanager
def server(*databases: str) -> Iterator[dict[str, str]]:
    """Run a server with these databases; yield their addresses by name."""
    bin_folder = binaries()
    as_user: list[str] = []
    # Not under pytest's folder, which only root may enter.
    with tempfile.TemporaryDirectory(prefix="atelier-postgres-") as place:
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            try:
                user = pwd.getpwnam("postgres")
            except KeyError:
                pytest.skip("no user postgres here, and PostgreSQL does not run as root: apt-get install postgresql")
            os.chown(place, user.pw_uid, user.pw_gid)
            as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--"]

        def call(*command: str) -> None:
            # No pipes: the server would keep them open.
            with (Path(place) / "output").open("w") as output:
                done = subprocess.run([*as_user, *command], cwd="/", stdout=output, stderr=output, check=False)
            assert done.returncode == 0, f"{command}: {(Path(place) / 'output').read_text()}"

        data = str(Path(place) / "data")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        call(str(bin_folder / "initdb"), "-D", data, "-U", "atelier", "--auth=trust", "--no-sync", "-E", "UTF8")
        options = f"-c listen_addresses=127.0.0.1 -p {port} -c unix_socket_directories={place} -c fsync=off"
        call(str(bin_folder / "pg_ctl"), "-D", data, "-l", f"{place}/log", "-w", "-o", options, "start")
        try:
            for name in databases:
                call(str(bin_folder / "createdb"), "-h", "127.0.0.1", "-p", port, "-U", "atelier", name)
            yield {name: f"postgresql://atelier@127.0.0.1:{port}/{name}" for name in databases}
        finally:
            call(str(bin_folder / "pg_ctl"), "-D", data, "-w", "-m", "immediate", "stop")
