"""The two ends of the grid of `make edges` that `make test` runs too: a step that fails, and a step that is stopped."""

import json
import signal
from pathlib import Path

import pytest

from tests.edges.commands import Command, call
from tests.edges.test_grid import faults
from tests.pipeline.conftest import TINY

READS = Command(
    ("pipeline.run", "--profile", str(TINY), "--select", "key:reviews or key:products or key:rejects"),
    "pipeline.core.raw.ingest:read_reviews",
)


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    reviews = [{"overall": 5.0, "reviewerID": "U1", "asin": "B1", "unixReviewTime": 1_400_000_000}]
    (tmp_path / "reviews.jsonl").write_text("".join(json.dumps(row) + "\n" for row in reviews))
    (tmp_path / "products.jsonl").write_text(json.dumps({"asin": "B1", "title": "Shirt", "imageURL": []}) + "\n")
    return {
        "ATELIER_REVIEWS": str(tmp_path / "reviews.jsonl"),
        "ATELIER_PRODUCTS": str(tmp_path / "products.jsonl"),
    }


def test_a_step_that_fails_ends_the_run_with_its_reason(tmp_path: Path, variables: dict[str, str]):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "tables").write_text("not a folder")
    assert faults(call(READS, tmp_path / "home", variables), 1, "move it away") == []


def test_ctrl_c_in_a_step_ends_the_run_with_exit_code_130(tmp_path: Path, variables: dict[str, str]):
    (tmp_path / "home").mkdir()
    ended = call(READS, tmp_path / "home", variables, kind="waits", signals=(signal.SIGINT,))
    assert faults(ended, 130, "the same command goes on") == []
    assert ended.after is not None
