"""A small shop over several days: its drops folder, a picture host that counts requests, and a home whose sensors the
test evaluates as the daemon would."""

import gzip
import io
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
from PIL import Image

from pipeline.runtime.resources import default_resources
from pipeline.upkeep.jobs import observe_sources
from tests.pipeline.core.loopback import LoopbackHost

MODES = ("vendor_single", "vendor_customer")  # a drop may affect one and not the other
ITEMS, USERS = 40, 24
STEPS = (0, 1, 3, 7, 12, 20, 31)  # offsets of a user's items from the first one


class PictureHost(LoopbackHost):
    """Serves a different picture for every path; `asked` counts the requests by path."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        super().__init__()

    async def _serve_connection(self, reader, writer) -> None:
        while request := await reader.readline():
            path = request.split()[1].decode()
            while (await reader.readline()).strip():
                pass
            self.asked[path] += 1
            body = picture(path)
            head = f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()


def picture(path: str) -> bytes:
    """Draw noise in a colour, both seeded by the path, as a JPEG."""
    rng = np.random.default_rng(list(path.encode()))
    pixels = rng.integers(0, 90, (64, 64, 3)) + rng.integers(0, 160, 3)
    sink = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(sink, "JPEG")
    return sink.getvalue()


def asin(item: int) -> str:
    return f"B{item:03d}"


def purchases() -> list[tuple[int, int]]:
    """List the users' purchases before the week: seven items each, every item bought by at least two users."""
    return [(user, (3 * user + step) % ITEMS) for user in range(USERS) for step in STEPS]


@dataclass
class Shop:
    """A drops folder, product metadata, and the automation over one home."""

    folder: Path
    host: PictureHost
    instance: dg.DagsterInstance
    cursors: dict[str, str | None] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)  # the sensors' skip messages

    @property
    def drops(self) -> Path:
        return self.folder / "drops"

    def review(self, reviewer: str, item: int, *photos: str) -> dict[str, Any]:
        urls = [self.host.url(f"photo-{name}.jpg") for name in photos]
        row = {"reviewerID": reviewer, "asin": asin(item), "overall": 5.0, "unixReviewTime": 1_500_000_000 + item}
        return row | ({"image": urls} if urls else {})

    def write_products(self, without: int | None = None) -> None:
        """Write the metadata, two pictures per product, without the item `without`."""
        rows = [
            {
                "asin": asin(item),
                "title": "Women's T-Shirt",
                "imageURL": [self.host.url(f"{asin(item)}-{n}.jpg") for n in range(2)],
                "imageURLHighRes": [],
            }
            for item in range(ITEMS)
            if item != without
        ]
        (self.folder / "products.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def drop(self, name: str, rows: list[dict[str, Any] | str]) -> Path:
        path = self.drops / f"{name}.jsonl.gz"
        lines = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
        path.write_bytes(gzip.compress(lines.encode(), mtime=0))
        return path

    def definitions(self) -> dg.Definitions:
        from pipeline.build import build_definitions

        return build_definitions()

    def day(self) -> "Day":
        """Evaluate both sensors and run their requests, until neither requests anything."""
        definitions, day = self.definitions(), Day()
        for _ in range(25):
            observations = self._tick(definitions, "new_files")
            for request in observations:
                assert request.job_name == observe_sources.name
                job = definitions.resolve_job_def(observe_sources.name)
                done = job.execute_in_process(instance=self.instance, raise_on_error=False, tags=dict(request.tags))
                day.observed += done.success
            refreshes = self._tick(definitions, "refresh")
            for request in refreshes:
                self._run(definitions, request, day)
            if not observations and not refreshes:
                return day
        raise AssertionError(f"the automation does not settle; made so far: {sorted(day.made)}")

    def _tick(self, definitions: dg.Definitions, name: str) -> list[dg.RunRequest]:
        sensor = definitions.resolve_sensor_def(name)
        cursor = self.cursors.get(name)
        with dg.build_sensor_context(
            instance=self.instance, cursor=cursor, definitions=definitions, resources=default_resources()
        ) as context:
            ticked = sensor.evaluate_tick(context)
        self.cursors[name] = ticked.cursor or self.cursors.get(name)
        if ticked.skip_message:
            self.skipped.append(ticked.skip_message)
        return list(ticked.run_requests or [])

    def _run(self, definitions: dg.Definitions, request: dg.RunRequest, day: "Day") -> None:
        result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            asset_selection=list(request.asset_selection or []),
            partition_key=request.partition_key,
            raise_on_error=False,
        )
        for event in result.get_asset_materialization_events():
            made = event.step_materialization_data.materialization
            day.made[made.asset_key.to_user_string() + (f"[{made.partition}]" if made.partition else "")] += 1
        day.failed += [key.to_user_string() for key in request.asset_selection or []] if not result.success else []


@dataclass
class Day:
    """What happened on a day."""

    observed: int = 0  # observations of the files
    made: Counter[str] = field(default_factory=Counter)  # materialisations by asset
    failed: list[str] = field(default_factory=list)
