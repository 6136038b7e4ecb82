"""An installed Atelier has all of its data, and one console script that knows every command."""

import importlib
import os
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from pipeline.cli.main import COMMANDS, main

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_data_file_of_the_packages_travels_in_the_wheel():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is no list of files")
    packages = PROJECT["tool"]["setuptools"]["package-data"]
    tracked = subprocess.run(["git", "ls-files", "-z", "atelier", "models", "pipeline"], cwd=ROOT, capture_output=True,
                             check=True).stdout.decode().split("\0")  # fmt: skip
    data = {ROOT / name for name in tracked if name and not name.endswith(".py")}
    packed = {path for package, patterns in packages.items() for p in patterns for path in (ROOT / package).glob(p)}
    assert data and data <= packed


def test_the_console_script_is_declared_and_every_command_it_lists_exists():
    assert PROJECT["project"]["scripts"] == {"atelier": "pipeline.cli.main:console"}
    for name, command in COMMANDS.items():
        assert callable(importlib.import_module(command.module).main), name


def test_a_reader_who_wants_no_more_of_the_list_sees_no_traceback():
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-u", "-m", "pipeline.cli.main", "--help"]
    done = subprocess.run(command, cwd=ROOT, stdout=writes, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writes)
    assert (done.returncode, done.stderr) == (1, "")


def test_without_a_command_or_with_an_unknown_one_the_commands_are_listed(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 2 and "usage: atelier COMMAND" in capsys.readouterr().out
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in COMMANDS)
    assert main(["trian"]) == 2 and "there is no command 'trian'" in capsys.readouterr().err


def test_the_public_names_are_imported_on_first_use():
    import atelier

    assert all(getattr(atelier, name) is not None for name in atelier.__all__)
    with pytest.raises(AttributeError, match="atelier has no 'nothing'; it has: RECOMMENDERS"):
        _ = atelier.nothing


def test_an_editable_install_has_the_command():
    found = entry_points(group="console_scripts", name="atelier")
    if not found:
        pytest.skip("the project is not installed here: make setup installs it")
    assert {each.value for each in found} == {"pipeline.cli.main:console"}
