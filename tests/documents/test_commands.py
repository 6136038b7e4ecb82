"""Every command of the documents is run, on one small home, as it is written but for what SMALLER says; the exceptions
are listed with their reason, and a new command is in neither until somebody puts it there.

The home itself is made by the README's own `make run`. Commands of Python modules run in this process, through the
Makefile where they begin with `make`; MLflow's and Dagster's by the entry points that their commands are.
"""

import ast
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from pipeline.cli import main as cli
from pipeline.core.shop.mapping import Shop as Layout
from tests.documents import own_shop
from tests.documents.blocks import GENERATED, PAGES, ROOT, blocks, everything
from tests.pipeline.conftest import TINY, free_port, isolate, small_catalogue

pytestmark = pytest.mark.documents

CI = "its own step of .ci/run"
SERVERS = "servers until Ctrl-C; `make screenshots` starts and ends them (tests/pages/uis.py)"
RANKS = "four processes and more; tests/models/training/test_ranks.py trains with two"
EXCEPTIONS = {
    "make demo": f"minutes; {CI}",
    "make setup": CI,
    "make lint": CI,
    "make test": f"this very run; {CI}",
    "make ui": SERVERS,
    "ATELIER_REVIEWS=... make ui": SERVERS,
    "pip install -e .[s3]": "asks a package registry; `make setup` installs the same, pinned",
    "pip install -e .[ray]": "asks a package registry, for a library that the tests do without",
    "python -m tests.soak --folder DIR --seed 1": "minutes of kill -9",
    "ATELIER_RANKS=4 make run PROFILE=paper": RANKS,
    "torchrun --nproc-per-node 4 -m models.dvbpr.train --data DIR --out DIR": RANKS,
    "torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint HOST:29500 --max-restarts 3 -m"
    " models.lsgan.train --pictures x.npy --labels y.npy --out SHARED_DIR": RANKS,
    "python -m pipeline.study.page docs/recommender-study.md": "writes the page itself;"
    " tests/pipeline/study/test_page.py has another",
    "atelier ui": SERVERS,
    "KILLS=10 make soak": "minutes of kill -9; tests/soak is its own command",
    "ssh -N -L 3000:127.0.0.1:3000 -L 5000:127.0.0.1:5000 you@the-server": "needs a second machine",
    "0 3 * * *  cd /srv/atelier && .venv/bin/python -m pipeline.run --profile paper": "a line for cron; its command is"
    " run as `make run PROFILE=paper`",
    "python -m pipeline.run --profile ...": "the run after an erasure: tests/pipeline/erase/test_erase.py makes it",
}
# The home is made as far as the commands need it; what is made again would be the same.
MADE = '--profile {tiny} --select "+key:recommender_champion or +key:generator_champion"'
AGAIN = "--select key:users"
ONE_CELL = "--splits 1 --seeds 1 --modes vendor_single --profile {tiny}"
OWN_SHOP = "atelier run --profile cpu --modes vendor_single"  # on the tutorial's shop, into a home of its own
WHOLE = (
    "--protocols random latest basket time --splits 3 --seeds 1 --modes vendor_single --reference modern"
    " --models modern popularity popularity_recent popularity_zero random shares item_knn item_knn_prior"
    " visual_neighbours visual_neighbours_prior ials ials_prior ease ease_prior bpr_mf bpr_mf_prior vbpr"
    " vbpr_prior cornac_vbpr_tuned cornac_vbpr_tuned_prior lightfm lightfm_prior lightgcn lightgcn_prior sasrec"
    " sasrec_prior hm_recipe paper+epochs=30 paper_prior+epochs=30"
)
ABLATION = (
    "--protocols random time --splits 1 --seeds 1 --modes vendor_single --reference modern --models modern"
    " --ablate modern"
)
# Written in a document -> run here: less of the same.
SMALLER = {
    OWN_SHOP: "ATELIER_HOME={own} ATELIER_REVIEWS=orders.csv"
    " ATELIER_PRODUCTS=products.csv ATELIER_SHOP=shop.toml atelier run --profile {tiny} --modes vendor_single"
    ' --select "+key:image_ledger"',
    "--toml shop.toml": "--toml understood.toml",  # the page's shop.toml is the file after the edit
    "--profile cpu": MADE,
    "--profile paper": f"--profile {{tiny}} {AGAIN}",
    "--profile mine.yaml": f"--profile mine.yaml {AGAIN}",
    "FILE.yaml": "{tiny}",
    '"+key:garments"': "key:users",
    '"group:ingest or key:image_urls or key:image_ledger or key:image_bank or key:image_features"': "key:users",
    # Four protocols and their weeks: tests/pipeline/study has each.
    "--protocols random latest basket time --weeks 8 --splits 3 --seeds 1 --modes vendor_single --reference modern"
    " --ablate modern": "--protocols random latest --models popularity --splits 1 --seeds 1 --modes vendor_single",
    "--protocols random latest basket time --weeks 8 --splits 3 --seeds 1 --ablate modern": "--protocols random latest"
    f" --models popularity random {ONE_CELL}",
    "--splits 5 --seeds 2": f"--models popularity random {ONE_CELL}",
    # Cornac: a library of its own
    "--models vbpr vbpr+k=64 cornac_vbpr cornac_vbpr_tuned": f"--name variants --models vbpr vbpr+k=4 {ONE_CELL}",
    "--models random popularity_zero picture_count bpr_mf visual_neighbours vbpr_visual vbpr cornac_vbpr"
    " cornac_vbpr_tuned+regularisation=[0.3,1.0] paper+epochs=30": "--models random popularity_zero --splits 1"
    " --seeds 1 --modes vendor_single",
    WHOLE: "--protocols random latest --splits 1 --seeds 1 --modes vendor_single --models random popularity",
    "--protocols time --weeks 8": "--protocols random --splits 1",
    ABLATION: "--protocols random --splits 1 --seeds 1 --modes vendor_single --models modern+parts=[image]",
    "--reference modern ": "",
    "--set width=0.25 steps=1600 tick_steps=100 --draws 2": "--set width=0.05 steps=2 tick_steps=2 batch_size=8"
    " minimum_class=4 --draws 1 --samples 30 --rows kang2017",
    "--reviewer ID": "--reviewer {reviewer}",
    "--reviewer A2XYZ": "--reviewer {reviewer}",
    "--asin B00XYZ": "--asin {asin}",
    "--url https://...": "--url {url}",
    "--home var": "--home {home}",
    "python -m pipeline.mirror": "ATELIER_STORE={store} python -m pipeline.mirror",
    "8080": "{port}",
    "(4, 100)": "(4, 16)",  # the small generator's z
    '"champion", 3': '"champion", 1',
    "trials: 30": "trials: 1",
    "models: [vbpr, dvbpr]": "models: [vbpr]",
    "profile: cpu": "profile: {tiny}",
}
WITH_PYTHON = [page for page in PAGES if any(block.kind == "python" for block in blocks(page))]
MAKES_THE_HOME = "make run PROFILE=cpu"
ERASING = re.compile(r"python -m pipeline\.erase ")


@dataclass
class Shop:
    """A working directory like a checkout, whose `var` is a home that `make run` made."""

    folder: Path
    words: dict[str, str]

    def smaller(self, text: str) -> str:
        """A document's text with less of the same asked for."""
        for written, run in SMALLER.items():
            text = text.replace(written, run)
        for name, value in self.words.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    def run(self, command: str) -> int:
        """A document's command made smaller, in this process; its exit code."""
        return execute(self.smaller(called_by_make(command)))


def called_by_make(command: str) -> str:
    """What `make` would call; another command as it is."""
    if not command.startswith("make "):
        return command
    told = subprocess.check_output(["make", "-n", *shlex.split(command)[1:]], cwd=ROOT, text=True)
    [line] = [line for line in told.splitlines() if " -m pipeline." in line]
    return line


def execute(command: str) -> int:
    """Run a command in this process."""
    words = shlex.split(os.path.expandvars(command))
    with pytest.MonkeyPatch.context() as patch:
        while re.fullmatch(r"\w+=\S*", words[0]):
            patch.setenv(*words.pop(0).split("=", 1))
        return called(words, patch)


def called(words: list[str], patch: pytest.MonkeyPatch) -> int:
    """Call what a command names, with its arguments."""
    if words[0] == "atelier":
        return ended(lambda: cli.main(words[1:]))
    if words[0] in ("python", ".venv/bin/python"):
        name = words[2]
        package = importlib.util.find_spec(name).submodule_search_locations
        main = importlib.import_module(f"{name}.__main__" if package else name).main
        return ended(lambda: main(words[3:]))
    point = next(iter(entry_points(group="console_scripts", name=words[0])))  # mlflow's two packages name one
    patch.setattr(sys, "argv", words)
    return ended(point.load())


def ended(main) -> int:
    try:
        return main() or 0
    except SystemExit as end:  # --help, and click
        return int(end.code or 0)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The README's way to a home: two variables, then `make run PROFILE=cpu`."""
    from pipeline.sample import server
    from pipeline.sample.catalogue import write_catalogue

    folder = tmp_path_factory.mktemp("documents")
    (folder / ".venv").symlink_to(ROOT / ".venv")
    settings = small_catalogue()
    catalogue = write_catalogue(folder / "catalogue", settings)
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.chdir(folder)
        patch.setenv("PWD", str(folder))
        patch.setenv("PATH", os.environ["PATH"])
        for fault in ("unavailable", "truncated", "hang"):
            patch.setitem(server.FAULTS, fault, 0.0)
        isolate(
            patch, folder / "var", ATELIER_REVIEWS=str(catalogue.reviews), ATELIER_PRODUCTS=str(catalogue.products),
            ATELIER_ALLOW_HOSTS=f"{server.HOST}:{settings.port}",
        )  # fmt: skip
        made = Shop(
            folder,
            {
                "tiny": str(TINY),
                "home": str(folder / "var"),
                "own": str(folder / "own"),
                "store": str(folder / "store"),
                "port": str(free_port()),
            },
        )
        own_shop.write(folder, catalogue)
        for page in PAGES:
            for block in blocks(page):
                if found := re.match(r"# (\w+\.(?:yaml|toml))\n", block.text):
                    (folder / found[1]).write_text(made.smaller(block.text))
        with server.serve(catalogue.folder, settings.port):
            assert made.run(MAKES_THE_HOME) == 0
        core = pq.read_table(folder / "var" / "tables" / "users.parquet")
        urls = pq.read_table(folder / "var" / "tables" / "image_urls.parquet")
        made.words |= {"reviewer": core["reviewer_id"][0].as_py(), "asin": urls["asin"][0].as_py(),
                       "url": urls["url"][-1].as_py()}  # fmt: skip
        picture = next(iter((catalogue.folder / "pictures").rglob("*.jpg")), None)
        if picture is not None:
            shutil.copy(picture, folder / "new.jpg")
        yield made


def in_process() -> list[str]:
    """The commands that need no second process, those that erase apart."""
    apart = {*EXCEPTIONS, MAKES_THE_HOME, OWN_SHOP}
    return [c for c in everything() if c not in apart and not SERVING.match(c) and not ERASING.match(c)]


SERVING = re.compile(r"export |mlflow models serve|curl |echo |mlflow models predict")


def test_every_exception_is_still_a_command_of_a_page(capsys: pytest.CaptureFixture[str]):
    assert set(EXCEPTIONS) <= set(everything())
    with capsys.disabled():
        for command, reason in EXCEPTIONS.items():
            print(f"\nnot run: {command}  ({reason})", end="")


@pytest.mark.parametrize("command", in_process())
def test_a_command_does_what_its_page_says(shop: Shop, command: str):
    if command == "python -m pipeline.cli.reference --write":
        before = {name: (ROOT / "docs" / name).read_text() for name in GENERATED}
        assert shop.run(command) == 0
        assert {name: (ROOT / "docs" / name).read_text() for name in GENERATED} == before
    else:
        assert shop.run(command) == 0


def test_the_tutorials_shop_toml_finds_the_pictures_that_inspect_misses(shop: Shop):
    ask = "atelier inspect --reviews orders.csv --products products.csv"
    assert shop.run(f"{ask} --toml understood.toml") == shop.run(f"{ask} --shop shop.toml --toml edited.toml") == 0
    understood, edited = Layout.of(shop.folder / "understood.toml"), Layout.of(shop.folder / "edited.toml")
    assert not understood.pictures.pattern and edited.pictures.pattern == "images/{product_id}.jpg"
    assert (edited.interactions, edited.products) == (understood.interactions, understood.products)
    assert shop.run(OWN_SHOP) == 0
    ledger = pq.read_table(shop.folder / "own" / "tables" / "image_ledger.parquet")
    assert ledger["status"].to_pylist().count("ok") > 40


def test_the_served_model_answers_as_the_pages_ask_it(shop: Shop):
    serving = [c for c in everything() if SERVING.match(c)]
    exports = [c for c in serving if c.startswith("export ")]
    for command in exports:
        for assignment in shlex.split(os.path.expandvars(command))[1:]:
            name, _, value = assignment.partition("=")
            os.environ[name] = value
    serve, short = sorted((c for c in serving if " serve " in c), key=len, reverse=True)
    assert serve.startswith(short)
    [ask] = [c for c in serving if c.startswith("curl ")]
    with subprocess.Popen(["bash", "-c", "exec " + shop.smaller(serve)], start_new_session=True) as server:
        try:
            answers_at(f"http://127.0.0.1:{shop.words['port']}/ping", server)
            answer = subprocess.run(
                ["bash", "-c", shop.smaller(ask)], capture_output=True, text=True, check=True
            ).stdout
        finally:
            os.killpg(server.pid, 15)
    assert '"rank": 5' in answer and '"known": false' in answer
    for command in (c for c in serving if c.startswith("echo ")):
        subprocess.run(["bash", "-c", command], check=True)
    [predict] = [c for c in serving if " predict " in c]
    assert shop.run(predict) == 0
    assert '"item"' in (shop.folder / "picks.json").read_text()


def answers_at(address: str, server: subprocess.Popen, within: float = 240) -> None:
    until = time.monotonic() + within
    while True:
        assert server.poll() is None, "the server ended"
        try:
            with closing(urllib.request.urlopen(address, timeout=5)):
                return
        except (TimeoutError, OSError):
            assert time.monotonic() < until, f"{address} does not answer"
            time.sleep(0.5)


def values_of(shop: Shop, page: str) -> tuple[list[object], dict[str, object]]:
    """Run a page's Python from top to bottom: what each block's last line is worth, and the names it leaves."""
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{shop.folder}/var/mlflow/mlflow.db"
    names: dict[str, object] = {}
    values: list[object] = []
    for block in blocks(next(path for path in WITH_PYTHON if path.name == page)):
        if block.kind == "python":
            lines = ast.parse(shop.smaller(block.text), page).body
            asked = lines.pop().value if isinstance(lines[-1], ast.Expr) else ast.Constant(None, lineno=1, col_offset=0)
            exec(compile(ast.Module(lines, []), page, "exec"), names)
            values.append(eval(compile(ast.Expression(asked), page, "eval"), names))
    return values, names


def test_every_page_with_python_has_a_test_here():
    assert [page.name for page in WITH_PYTHON] == ["compare.md", "serving.md"]


def test_the_python_on_comparing_moves_the_champion(shop: Shop):
    client, model = MlflowClient(f"sqlite:///{shop.folder}/var/mlflow/mlflow.db"), "atelier-recommender-vendor_all"
    client.delete_registered_model_alias(model, "champion")
    values_of(shop, "compare.md")
    assert client.get_model_version_by_alias(model, "champion").version in ("1", 1)


def test_the_python_on_serving_ranks_items_embeds_a_picture_and_draws_garments(shop: Shop):
    (picks, _, garments), names = values_of(shop, "serving.md")
    assert list(picks["rank"]) == [1, 2, 3, 4, 5] and picks["item"].is_unique
    assert names["factors"].ndim == 1 and np.isfinite(names["factors"]).all() and names["bias"] == 0
    assert garments.shape == (4, 64, 64, 3) and garments.dtype == np.uint8


def test_what_is_to_be_erased_goes(shop: Shop):
    """Last, as the home is less afterwards."""
    for command in (c for c in everything() if ERASING.match(c)):
        assert shop.run(command) == 0
