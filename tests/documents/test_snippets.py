"""Every snippet of the documents is read by what reads such a file."""

import io
import re
from pathlib import Path

import pytest
import yaml
from dotenv import dotenv_values

from pipeline.core.generator import garment_classes
from pipeline.core.shop.mapping import Shop
from pipeline.settings import profiles
from pipeline.settings.method import Method
from pipeline.settings.ops import OPS
from tests.documents.blocks import PAGES, Block, blocks

ALL = [block for page in PAGES for block in blocks(page)]
# Not ours: what MLflow and boto3 read.
FOREIGN = {"MLFLOW_S3_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"}


def of(kind: str) -> list:
    return [pytest.param(block, id=f"{block.page}-{n}") for n, block in enumerate(ALL) if block.kind == kind]


def test_every_snippet_is_of_a_kind_that_is_read_here_or_run():
    assert {block.kind for block in ALL} == {"shell", "python", "yaml", "toml", "environment", "text"}


@pytest.mark.parametrize("block", of("yaml"))
def test_a_profile_is_one_and_its_settings_are_known(block: Block, tmp_path: Path):
    given = {"ops": {}, **yaml.safe_load(block.text)}
    if "tuning" in given["ops"]:
        pytest.skip("the job tune's: a command of its page runs it")
    (tmp_path / "given.yaml").write_text(yaml.safe_dump({"resources": {"method": {"config": {}}}, **given}))
    assert bool(profiles.load(str(tmp_path / "given.yaml")).ops) == bool(given["ops"])
    method = Method(profile=str(tmp_path / "given.yaml"))
    for op in given["ops"]:
        for settings in OPS[op]:
            method.settings(settings, op)


@pytest.mark.parametrize("block", of("toml"))
def test_classes_of_ones_own_and_a_shop_toml_are_read(block: Block, tmp_path: Path):
    (tmp_path / "given.toml").write_text(block.text)
    if re.search(r"^\[(interactions|products|attributes|pictures|customers)\]", block.text, re.MULTILINE):
        assert Shop.of(tmp_path / "given.toml") != Shop()
    else:
        assert "women_dresses" in garment_classes.load_rules(tmp_path / "given.toml").names


@pytest.mark.parametrize("block", [*of("environment"), *of("shell")])
def test_every_variable_is_one_that_is_read(block: Block):
    reference = next(page for page in PAGES if page.name == "tutorial.md").with_name("reference.md").read_text()
    known = set(re.findall(r"^\| `([A-Z_]+)` \|", reference, re.MULTILINE)) | FOREIGN
    lines = [line for line in block.text.splitlines() if re.match(r"[A-Z_0-9]+=\S+( +#.*)?$", line)]
    given = dotenv_values(stream=io.StringIO("\n".join(lines)))
    assert len(given) == len(lines) and set(given) <= known
