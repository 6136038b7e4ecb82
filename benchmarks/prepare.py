"""Compare preparing `interactions.parquet` from reviews with the same job in pandas: `python -m benchmarks.prepare`.

The job makes two tables: the typed reviews, each with a hash of its content as id, and the 5-core's interactions. Ours
also accounts for every line. The file is synthetic and seeded, similar to AMAZON_FASHION: its number of reviews and
products, about 0.4 kB per review, users and items by power laws, one review in a hundred repeated. With `--format csv`
or `parquet` it is a table of the same users and items: user, item, rating, time. The sides run in
turn, each in its own process; figures are of the whole process, including imports. Both must find the same
interactions.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks.measure import cpu_machine, in_a_process, last_line, medians
from pipeline.core.durable import temporary_name

REVIEWS = 1_000_000
ITEMS = 186_627  # NAF, table 1
# Reviews; pandas needs about 3.3 kB of memory for each of JSON, and 0.4 kB for each of a table.
PEER_AT_MOST = {"json": 2_000_000, "csv": 20_000_000, "parquet": 20_000_000}
CHUNK = 100_000  # reviews drawn and written at once
SEED = 0


def write_reviews(path: Path, reviews: int, seed: int) -> None:
    """Write a gzipped review file in AMAZON_FASHION's format; the same seed gives the same bytes."""
    from isal import igzip

    rng = np.random.default_rng(seed)
    letters = list("eeetttaaooiinnsshhrrdlucmfwypvbg")
    words = ["".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(3_000)]
    share = 1 / np.arange(1, len(words) + 1)
    texts = [" ".join(rng.choice(words, rng.integers(5, 60), p=share / share.sum())) for _ in range(20_000)]
    # Most users have one review and one in 250 has five or more, as in AMAZON_FASHION.
    users = np.repeat(np.arange(reviews), rng.zipf(3.8, reviews))[:reviews]
    rng.shuffle(users)
    temporary = temporary_name(path)
    with igzip.open(temporary, "wb", compresslevel=2) as file:
        lines: list[str] = []
        for start in range(0, reviews, CHUNK):
            who = users[start : start + CHUNK].tolist()
            n = len(who)
            what = (ITEMS * rng.power(0.5, n)).astype(int).tolist()
            days = rng.integers(0, 5_000, n).tolist()
            said = rng.integers(0, len(texts), n).tolist()
            stars = rng.integers(1, 6, n).tolist()
            again = rng.random(n) < 0.01
            previous, lines = lines[-1:], []
            for row in range(n):
                if again[row] and (lines or previous):
                    lines.append((lines or previous)[-1])
                    continue
                photo = (
                    f', "image": ["https://pictures.example/I/{start + row:09d}._SY88.jpg"]' if row % 33 == 0 else ""
                )
                lines.append(
                    f'{{"overall": {stars[row]}.0, "verified": true, "reviewTime": "09 4, 2015", '
                    f'"reviewerID": "A{who[row] * 7919:012X}", "asin": "B{what[row]:09d}", '
                    f'"style": {{"Color:": " {words[said[row] % 40]}"}}, "reviewerName": "{words[who[row] % 3000]}", '
                    f'"reviewText": "{texts[said[row]]}", "summary": "{words[days[row] % 3000]}", '
                    f'"unixReviewTime": {1_200_000_000 + 86_400 * days[row]}{photo}}}'
                )
            file.write(("\n".join(lines) + "\n").encode())
    temporary.replace(path)


def write_table(path: Path, reviews: int, seed: int) -> None:
    """Write a CSV or Parquet file of users, items, ratings and times; the same seed gives the same rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import csv

    rng = np.random.default_rng(seed)
    users = np.repeat(np.arange(reviews), rng.zipf(3.8, reviews))[:reviews]
    rng.shuffle(users)
    items = (ITEMS * rng.power(0.5, reviews)).astype(int)
    again = np.flatnonzero(rng.random(reviews - 1) < 0.01) + 1 if reviews > 1 else np.empty(0, int)
    times = 1_200_000_000 + 86_400 * rng.integers(0, 5_000, reviews)
    stars = rng.integers(1, 6, reviews).astype(np.float64)
    for column in (users, items, times, stars):
        column[again] = column[again - 1]
    table = pa.table(
        {
            "user_id": [f"A{user * 7919:012X}" for user in users.tolist()],
            "item_id": [f"B{item:09d}" for item in items.tolist()],
            "rating": stars,
            "timestamp": times,
        }
    )
    temporary = temporary_name(path)
    if path.suffix == ".parquet":
        pq.write_table(table, temporary)
    else:
        csv.write_csv(table, temporary, csv.WriteOptions(quoting_style="none"))
    temporary.replace(path)


def ours(source: Path, out: Path) -> None:
    """Run Atelier's two stages as the assets call them."""
    import pyarrow.parquet as pq

    from pipeline.core.dataset.kcore import five_core
    from pipeline.core.raw.ingest import ReadContext, read_reviews

    core = five_core(read_reviews([source], read_context=ReadContext(out=out)).reviews_file)
    pq.write_table(core.interactions, out / "interactions.parquet")


def plain_pandas(source: Path, out: Path) -> None:
    """Make the same two tables in plain pandas."""
    import pandas as pd

    if source.suffix == ".gz":
        reviews = pd.read_json(source, lines=True, dtype={"reviewerID": str, "asin": str})
    else:
        texts = {"user_id": str, "item_id": str}
        reviews = pd.read_parquet(source) if source.suffix == ".parquet" else pd.read_csv(source, dtype=texts)
        names = {"user_id": "reviewerID", "item_id": "asin", "rating": "overall", "timestamp": "unixReviewTime"}
        reviews = reviews.rename(columns=names).assign(image=None)
    typed = reviews[["reviewerID", "asin", "overall", "unixReviewTime", "image"]]
    typed.assign(review_id=pd.util.hash_pandas_object(reviews.astype(str), index=False)).to_parquet(
        out / "reviews.parquet"
    )
    active = reviews.groupby("reviewerID")["asin"].transform("size") >= 5
    reviews = reviews[active]
    earliest = reviews.groupby(["reviewerID", "asin"])["unixReviewTime"].transform("min")
    pairs = reviews.assign(time=earliest).drop_duplicates(["reviewerID", "asin"])
    pairs = pairs[pairs.groupby("reviewerID")["asin"].transform("size") >= 5]
    user, item = pd.factorize(pairs["reviewerID"])[0], pd.factorize(pairs["asin"])[0]
    interactions = pd.DataFrame({"user": user, "item": item, "time": pairs["time"].to_numpy()})
    interactions.to_parquet(out / "interactions.parquet")


def same(left: Path, right: Path) -> bool:
    """Return whether both sides found the same interactions, row by row."""
    import pyarrow.parquet as pq

    tables = [pq.read_table(folder / "interactions.parquet").to_pydict() for folder in (left, right)]
    return tables[0] == tables[1]


ENDINGS = {"json": ".json.gz", "csv": ".csv", "parquet": ".parquet"}
SIDES = {"ours": ours, "pandas": plain_pandas}


def main(arguments: list[str] | None = None) -> int:
    """Write the file if it is missing, run both sides in turn and print the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prepare", description=__doc__)
    parser.add_argument("--reviews", type=int, default=REVIEWS, help="lines of the synthetic file")
    parser.add_argument("--format", choices=sorted(ENDINGS), default="json", help="form of the file (default: json)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side")
    parser.add_argument("--folder", type=Path, default=Path("var/benchmarks/prepare"), help="folder of the files")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    parser.add_argument("--side", choices=[*SIDES, "write"], help=argparse.SUPPRESS)  # for a process
    options = parser.parse_args(arguments)
    if options.reviews < 1 or options.repeats < 1:
        parser.error("--reviews and --repeats must be at least 1")
    source = options.folder / f"reviews-{options.reviews}{ENDINGS[options.format]}"
    if options.side == "write":
        (write_reviews if options.format == "json" else write_table)(source, options.reviews, SEED)
        return 0
    if options.side:
        out = options.folder / options.side
        out.mkdir(parents=True, exist_ok=True)
        SIDES[options.side](source, out)
        return 0
    command = ["-m", "benchmarks.prepare", "--reviews", str(options.reviews), "--folder", str(options.folder)]
    command += ["--format", options.format]
    options.folder.mkdir(parents=True, exist_ok=True)
    if not source.is_file():
        print(f"writing {source}", file=sys.stderr)
        # In a process of its own: a child's peak memory begins with that of its parent.
        in_a_process([*command, "--side", "write"])
    sides = ["ours", "pandas"] if options.reviews <= PEER_AT_MOST[options.format] else ["ours"]
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(options.repeats):
        for side in sides:
            runs[side].append(in_a_process([*command, "--side", side]))
    found = {side: medians(of_side) for side, of_side in runs.items()}
    where = cpu_machine()
    size = source.stat().st_size / 1e6
    print(
        f"{options.reviews:,} reviews ({size:,.0f} MB of {options.format}) to interactions.parquet; medians of"
        f" {options.repeats}"
    )
    for side, figures in found.items():
        print(
            f"  {side:8} {figures['wall_s']:8.2f} s  {figures['cpu_s']:8.2f} CPU s  {figures['peak_mb']:8,.0f} MB"
            f"  {options.reviews / figures['wall_s']:12,.0f} reviews/s"
        )
    ratio = None
    if "pandas" in found:
        if not same(options.folder / "ours", options.folder / "pandas"):
            print("benchmarks.prepare: the two sides found different interactions", file=sys.stderr)
            return 1
        ratio = found["pandas"]["wall_s"] / found["ours"]["wall_s"]
        memory = found["ours"]["peak_mb"] / found["pandas"]["peak_mb"]
        print(f"  {ratio:.1f} times as fast as pandas, in {memory:.0%} of its memory; the same interactions")
    else:
        print(f"  pandas left out above {PEER_AT_MOST[options.format]:,} reviews: it needs much memory for each")
    print(f"  {where}")
    if options.json:
        peer = {**found["pandas"], "what": "pandas, written plainly"} if "pandas" in found else None
        print(last_line("prepare", options.reviews, found["ours"], peer, ratio, where))
    return 0


if __name__ == "__main__":
    sys.exit(main())
