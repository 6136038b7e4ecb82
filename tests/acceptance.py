"""`make acceptance`: the chain on real purchases and real pictures, held against counts known beforehand.

Not a pytest module: it takes minutes and needs the evaluation data sets, which are no part of the project. It serves
their pictures itself, runs `python -m pipeline.run` as a person would, and checks what came out.
"""

import argparse
import contextlib
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from pipeline.settings import profiles
from tests import acceptance_files

ROOT = Path(__file__).parent.parent
PORT = 8899  # the URLs in the data sets name it

# What a right pipeline counts on the H&M sample without faults (the data sets' README).
HM_DATA = {"reviews": 19246, "duplicate_reviews": 3946, "five_core_users": 559, "five_core_items": 7041}
HM_STEPS = {"users_with_k_reviews": 622, "items_of_users_with_k_reviews": 7093, "interactions": 14177}
HM_MODES = {
    "vendor_single": {"users": 557, "items": 6905, "item_images": 6905, "interactions": 14018},
    "vendor_all": {"users": 557, "items": 6905, "item_images": 15311, "interactions": 14018},
    "vendor_customer": {"users": 558, "items": 6926, "item_images": 17486, "interactions": 14045},
}
FASHION_5 = {
    "reviews": 3176, "users": 406, "distinct_pairs": 3042, "users_with_k_reviews": 405,
    "items_of_users_with_k_reviews": 30, "five_core_users": 374, "five_core_items": 12,
}  # fmt: skip
# Read as files, the sample's five-core has the same users, items and interactions. Up to the triplets, nothing is
# trained, so the bank's pictures may be small.
UP_TO_TRIPLETS = ("--select", "+key:triplets", "--modes", *acceptance_files.MODES)
AS_FILES = {"image_urls": {"vendor_resolution": "high", "extra_per_class": 0}, "image_bank": {"size": 16}}
# Held out at random, all 557 users are tested, enough to tell a small DVBPR from chance; by time there are 238.
RANDOM = {"splits": {"hold_out": "random"}}
# The faulty run checks DVBPR alone, so its baselines, and the features they need, may be coarse.
FAULTY = {**RANDOM, "image_features": {"feature_size": 32}, "baselines": {"max_epochs": 1}}
RECOMMENDERS = ("modern", "dvbpr")  # trained in one home; the first leads
BOTH = ("--with", "dvbpr")  # besides the profile's
MAPPER_AT_LEAST = 0.97  # precision and recall of every class


@dataclass
class Checks:
    """What was held against what."""

    failed: list[str] = field(default_factory=list)

    def equal(self, what: str, found: Any, expected: Any) -> None:
        """Note a figure that must be exact."""
        self.true(f"{what}: {found!r}, expected {expected!r}", found == expected)

    def true(self, what: str, holds: bool) -> None:
        """Note a condition."""
        print(f"  {'ok  ' if holds else 'FAIL'} {what}", flush=True)
        if not holds:
            self.failed.append(what)


@contextlib.contextmanager
def pictures(datasets: Path, faults: float = 0.0) -> Generator[None]:
    """The data sets' own picture server, while the block lasts."""
    command = [sys.executable, str(datasets / "serve.py"), "--port", str(PORT), "--faults", str(faults)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            line = server.stdout.readline() if server.stdout else ""
            if not line.startswith("serving"):
                raise SystemExit(f"{datasets / 'serve.py'} does not serve on port {PORT}: is the port in use?")
            yield
        finally:
            server.terminate()


def profile_with(home: Path, name: str, changes: dict[str, dict[str, Any]]) -> str:
    """Write the profile cpu with other settings of some ops; return its path."""
    profile = yaml.safe_load((profiles.FOLDER / "cpu.yaml").read_text())
    for op, settings in changes.items():
        profile["ops"].setdefault(op, {"config": {}})["config"] |= settings
    home.mkdir(parents=True, exist_ok=True)
    path = home / f"{name}.yaml"
    path.write_text(yaml.safe_dump(profile))
    return str(path)


def run(home: Path, reviews: Path | None, products: Path, *options: str, profile: str = "cpu") -> dict[str, Any]:
    """`python -m pipeline.run --profile ...` as a person would call it; returns its summary.json."""
    environment = {
        **os.environ,
        "ATELIER_HOME": str(home),
        "ATELIER_REVIEWS": str(reviews or ""),
        "ATELIER_PRODUCTS": str(products),
        "ATELIER_ALLOW_HOSTS": f"127.0.0.1:{PORT}",
    }
    started = time.monotonic()
    command = [sys.executable, "-m", "pipeline.run", "--profile", profile, *options]
    done = subprocess.run(command, env=environment, cwd=ROOT, check=False)
    print(f"  ({time.monotonic() - started:.0f} s)", flush=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with exit code {done.returncode}")
    return json.loads((home / "summary.json").read_text())


def check_hm(summary: dict[str, Any], home: Path, checks: Checks) -> None:
    """The H&M sample without faults: every count, learning above chance, and the table of all models."""
    for name, expected in HM_DATA.items():
        checks.equal(name, summary["data"][name], expected)
    for name, expected in HM_STEPS.items():
        checks.equal(name, summary["data"]["five_core_steps"][name], expected)
    for mode, counts in HM_MODES.items():
        for name, expected in counts.items():
            checks.equal(f"{mode} {name}", summary["modes"][mode]["surviving"][name], expected)
        for name in RECOMMENDERS:
            interval = summary["modes"][mode]["models"][name]["test"]["auc_ci95"]
            checks.true(f"{mode}: {name}'s interval {interval} lies above 0.5", interval[0] > 0.5)
    print_table(home)


def check_as_files(summary: dict[str, Any], home: Path, of_json: Path, checks: Checks) -> None:
    """The H&M sample as CSV and a folder of pictures: known counts, and the rows of the run on JSON."""
    for name, expected in HM_DATA.items():
        checks.equal(name, summary["data"][name], expected)
    checks.equal("interactions", summary["data"]["five_core_steps"]["interactions"], HM_STEPS["interactions"])
    for mode, counts in acceptance_files.COUNTS.items():
        for name, expected in counts.items():
            checks.equal(f"{mode} {name}", summary["modes"][mode]["surviving"][name], expected)
    for name, differing in acceptance_files.differing_rows(home, of_json):
        checks.equal(f"rows of {name} that differ from those of the run on JSON", differing, 0)


def print_table(home: Path) -> None:
    """Every model's row with the paired difference to the leading recommender."""
    table = pq.read_table(home / "tables" / "recommender_comparison.parquet").to_pandas()
    print(f"  {'mode':<16}{'model':<20}{'AUC (test)':<26}paired difference to {RECOMMENDERS[0]}")
    for row in table[table["split"] == "test"].itertuples():
        shown = f"{row.auc:.4f} ({row.auc_low:.3f}-{row.auc_high:.3f})"
        difference = ""
        if row.difference_to_main == row.difference_to_main:  # not NaN
            difference = f"{row.difference_to_main:+.4f} ({row.difference_low:+.3f} to {row.difference_high:+.3f})"
        print(f"  {row.mode:<16}{row.model:<20}{shown:<26}{difference}")


def check_faults(clean: dict[str, Any], faulty: dict[str, Any], checks: Checks) -> None:
    """With 5% of the paths misbehaving the chain ends, and every kind of fault has its reason."""
    broken, before = faulty["data"]["images_broken"], clean["data"]["images_broken"]
    for reason in ("http_404", "truncated", "not_a_picture", "too_small", "timeout", "too_large"):
        checks.true(f"{reason}: {broken.get(reason, 0)} pictures", broken.get(reason, 0) > before.get(reason, 0))
    checks.equal(
        "every URL is accounted for",
        faulty["data"]["images_ok"] + sum(broken.values()),
        faulty["data"]["image_urls"],
    )
    for mode, found in faulty["modes"].items():
        low = found["models"]["dvbpr"]["test"]["auc_ci95"][0]
        checks.true(f"{mode}: DVBPR's interval begins at {low:.3f}, above 0.5", low > 0.5)


def check_fashion_5(datasets: Path, checks: Checks) -> None:
    """The genuine AMAZON_FASHION_5 file through ingest and the 5-core filter."""
    from pipeline.core.dataset import kcore
    from pipeline.core.raw import ingest

    read = ingest.read_reviews([datasets / "amazon_fashion_5" / "AMAZON_FASHION_5.json.gz"])
    counts = kcore.five_core(read.reviews).counts
    checks.equal("rejected lines", read.rejects.num_rows, 0)
    for name, expected in FASHION_5.items():
        checks.equal(name, counts[name], expected)


def check_mapper(datasets: Path, home: Path, checks: Checks) -> None:
    """The category mapper against Myntra's labels, which it never sees."""
    with gzip.open(datasets / "myntra" / "products.jsonl.gz", "rt") as lines:
        truth = {row["asin"]: row["class"] for row in map(json.loads, lines)}
    products = pq.read_table(home / "tables" / "products.parquet").to_pydict()
    found = dict(zip(products["asin"], products["garment_class"], strict=True))
    for name in sorted({label for label in truth.values() if label}):
        said = {asin for asin, label in found.items() if label == name}
        is_so = {asin for asin, label in truth.items() if label == name}
        precision, recall = len(said & is_so) / max(1, len(said)), len(said & is_so) / len(is_so)
        checks.true(
            f"{name}: precision {precision:.4f}, recall {recall:.4f}", min(precision, recall) >= MAPPER_AT_LEAST
        )


def check_generator(summary: dict[str, Any], checks: Checks) -> None:
    """A generator was trained on all six classes, measured, and shown."""
    generator = summary["generator"]
    print("  " + json.dumps(generator))
    checks.equal("classes trained on", len(generator["images"]), 6)
    judged = sum("judge_agreement" in of for of in generator["by_class"].values())
    agreement = generator.get("judge_agreement", 0.0)
    checks.true(f"the judge recognises {agreement:.2f} of {judged} classes, above chance", agreement * judged > 1)
    checks.true(f"the lookbook is there: {summary['lookbook']}", Path(summary["lookbook"]).is_file())


def check_designs(summary: dict[str, Any], checks: Checks) -> None:
    """Designs from the H&M catalogue: people's scores rise."""
    designs = summary["designs"]
    print("  " + json.dumps(designs))
    checks.true(f"mean preference gain {designs['preference_gain_mean']:.3f}", designs["preference_gain_mean"] > 0)


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance", description=__doc__)
    parser.add_argument("--datasets", type=Path, default=ROOT / ".." / "shared" / "datasets", metavar="DIR")
    parser.add_argument("--home", type=Path, default=ROOT / "var" / "acceptance", metavar="DIR")
    options = parser.parse_args(argv)
    datasets, home, checks = options.datasets.resolve(), options.home.resolve(), Checks()
    if not (datasets / "serve.py").is_file():
        print(f"no data sets at {datasets}: nothing to accept on. Name their folder with --datasets.", file=sys.stderr)
        return 2
    hm = (datasets / "hm" / "reviews.jsonl.gz", datasets / "hm" / "products.jsonl.gz")

    print("AMAZON_FASHION_5 through ingest and the 5-core")
    check_fashion_5(datasets, checks)
    with pictures(datasets):
        print("H&M sample, the whole chain")
        clean = run(home / "hm", *hm, *BOTH, profile=profile_with(home, "random", RANDOM))
        check_hm(clean, home / "hm", checks)
        check_designs(clean, checks)
        print("H&M sample, JSON and pictures of 224 px up to the triplets")
        as_files = profile_with(home, "as-files", AS_FILES)
        run(home / "hm-224", *hm, *UP_TO_TRIPLETS, profile=as_files)
    print("H&M sample, CSV and a folder of pictures of 224 px up to the triplets")
    files = acceptance_files.laid_out(datasets, "hm", home / "files")
    tables = (files / "transactions_train.csv", files / "articles.csv")
    of_csv = run(home / "hm-files", *tables, *UP_TO_TRIPLETS, profile=as_files)
    check_as_files(of_csv, home / "hm-files", home / "hm-224", checks)
    print("Myntra, CSV and a folder of pictures, products alone: the generator's chain")
    styles = acceptance_files.laid_out(datasets, "myntra", home / "files") / "styles.csv"
    myntra = run(home / "myntra", None, styles)
    check_mapper(datasets, home / "myntra", checks)
    check_generator(myntra, checks)
    with pictures(datasets, faults=0.05):
        print("H&M sample, one path in twenty misbehaving: the recommender's chain")
        half = ("--select", "not group:generator and not group:report")
        faulty = run(home / "hm-faults", *hm, *half, *BOTH, profile=profile_with(home, "faulty", FAULTY))
        check_faults(clean, faulty, checks)
    if checks.failed:
        print(f"{len(checks.failed)} checks failed:", *checks.failed, sep="\n  ")
        return 1
    print("all checks hold")
    return 0


if __name__ == "__main__":
    sys.exit(main())
