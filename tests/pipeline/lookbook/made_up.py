"""A small made-up home: tables, pictures, models and materialisations, each part written only on request."""

import io
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

from models.data.dataset import Dataset
from models.data.factors import Factors
from models.data.picture_grid import grid
from models.dvbpr.train import DvbprSettings, train
from pipeline.core import schemas
from pipeline.core.generator.garment_classes import built_in
from pipeline.core.images.bank import Bank, build_bank
from pipeline.core.images.ledger import LedgerRow, PictureStore
from pipeline.core.tables import table_digest
from pipeline.home.storage import Storage
from pipeline.lookbook.album import Album
from pipeline.lookbook.build import build
from pipeline.lookbook.page import Page
from pipeline.lookbook.publish import PublishedPages, publish
from pipeline.runtime.resources import RawSources
from pipeline.settings.assets import LookbookSettings
from pipeline.views import sheets
from pipeline.views.home_contents import Home

MODE = "vendor_all"
USERS, ITEMS = 3, 8
HOSTILE = "<script>alert('boots')</script> \"quoted\" & <img src=x onerror=alert(1)>"
REVIEWER = "<b>R0</b>"
CLASSES = built_in().names
COMPARED = [  # model, split, AUC, interval, paired difference
    ("dvbpr", "test", 0.61234, 0.58, 0.65, None),
    ("dvbpr", "validation", 0.62345, 0.59, 0.66, None),
    ("vbpr", "test", 0.71, 0.68, 0.74, (0.098, 0.05, 0.14)),
    ("planted_best", "test", 0.91, 0.9, 0.92, (0.298, 0.25, 0.33)),
]


def places(items: int) -> np.ndarray:
    """Make the items' factors; people care only about the first."""
    return np.stack([-np.arange(items), np.sin(np.arange(items))], 1)


PLACES = places(ITEMS)


def shade(number: int) -> np.ndarray:
    """Make a picture in a grey of its own, higher than the page shows it."""
    return np.full((150, 100, 3), 20 + 20 * number, np.uint8)


class MadeUp:
    """A home that is built part by part."""

    users, items, bought, picks, apart = USERS, ITEMS, 2, 2, 0  # apart: items between the picks of two users

    def __init__(self, folder: Path, instance: dg.DagsterInstance, classes: tuple[str, ...] = CLASSES):
        self.folder, self.instance, self.classes = folder, instance, classes
        self.storage = Storage(root=str(folder))
        self.storage.tables.mkdir(parents=True)
        self.places = places(self.items)

    def picture(self, item: int) -> np.ndarray:
        return shade(item)

    def say(self, asset: str, partition: str | None = None, **metadata: object) -> None:
        event = dg.AssetMaterialization(asset, partition=partition, metadata=metadata)
        self.instance.report_runless_asset_event(event)

    def table(self, name: str, rows: list[dict], schema: pa.Schema, mode: str | None = None) -> pa.Table:
        path = self.storage.tables / (f"{name}/{mode}.parquet" if mode else f"{name}.parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pa.Table.from_pylist(rows, schema=schema)
        pq.write_table(table, path)
        return table

    def with_products(self) -> "MadeUp":
        """Add products and their pictures, and the empty tables that the pipeline writes without reviews."""
        store, now = PictureStore(self.storage.pictures), datetime.now(UTC)
        products, urls = [], []
        for item in range(self.items):
            title = HOSTILE if item == 0 else "" if item == 1 else f"Shirt {item}"
            products.append(
                {"asin": f"A{item}", "title": title, "categories": [], "vendor_urls": [], "vendor_urls_high": []}
            )
            sink = io.BytesIO()
            Image.fromarray(self.picture(item)).save(sink, "PNG")
            store.add(LedgerRow(f"u{item}", "ok", 1, now, 200, f"sha{item}", "PNG", 100, 150, 99), sink.getvalue())
            urls.append({"asin": f"A{item}", "item": item, "source": "vendor", "position": 0, "url": f"u{item}"})
        store.flush()
        self.table("products", products, schemas.PRODUCTS)
        self.table("image_urls", urls, schemas.IMAGE_URLS)
        pq.write_table(store.ledger(), self.storage.tables / "image_ledger.parquet")
        for name, schema in (("users", schemas.USERS), ("items", schemas.ITEMS)):
            self.table(name, [], schema)
        classes = {**dict.fromkeys(self.classes, 1), "none": 2}
        self.say("products", **{"dagster/row_count": self.items, "garment_classes": dg.MetadataValue.json(classes)})
        broken = dg.MetadataValue.json({"http_404": 7, "timeout": 2})
        self.say("image_ledger", images_ok=self.items, images_broken=broken)
        return self

    def with_reviews(self) -> "MadeUp":
        """Add reviews and a recommender: user u bought items u and u + 1, item u + 2 is hidden, picks are 6 and 7."""
        counts = {
            "reviews": 4321, "users": 777, "items": 99, "users_with_k_reviews": 12, "items_of_users_with_k_reviews": 20,
            "reviews_of_users_with_k_reviews": 60,
            "five_core_users": self.users, "five_core_items": self.items, "interactions": 55,
            "duplicate_reviews": 5,
        }  # fmt: skip
        self.say("reviews", **{"dagster/row_count": 4321, "users": 777, "items": 99})
        self.say("interactions", counts=dg.MetadataValue.json(counts))
        self.table(
            "users",
            [{"user": u, "reviewer_id": REVIEWER if u == 0 else f"R{u}"} for u in range(self.users)],
            schemas.USERS,
        )
        self.table("items", [{"item": i, "asin": f"A{i}"} for i in range(self.items)], schemas.ITEMS)
        rows = []
        for user in range(self.users):
            for place, split in enumerate((*["train"] * self.bought, "test")):
                rows.append({"user": user, "item": user + place, "split": split, "paired": True})
        splits = self.table("splits", rows, schemas.SPLITS, MODE)
        pictures = [
            {"image": i, "bank_row": i, "item": i, "source": "vendor", "position": 0, "sha256": f"sha{i}"}
            for i in range(self.items)
        ]
        self.table("catalogue", pictures, schemas.CATALOGUE, MODE)
        picks = [
            {"user": u, "rank": r + 1, "item": (u * self.apart + 6 + r) % self.items, "score": 1.5}
            for u in range(self.users)
            for r in range(self.picks)
        ]
        self.table("recommendations", picks, schemas.RECOMMENDATIONS, MODE)
        surviving = {
            "users_before": 2350, "items_before": 9, "items_without_picture": 1, "users": 2345, "items": 8,
            "item_images": 8,
        }  # fmt: skip
        loss = {
            "items": 9, "pictured": 8, "lost": {"http_404": 1}, "lost_share": 0.111111, "warn_above": 0.05,
        }  # fmt: skip
        self.say("splits", MODE, surviving=dg.MetadataValue.json(surviving), loss=dg.MetadataValue.json(loss))
        self._recommender(splits)
        compared = [
            {
                "mode": MODE, "model": model, "split": split, "users": self.users, "auc": auc,
                "auc_low": low, "auc_high": high,
                "difference_to_main": d and d[0], "difference_low": d and d[1], "difference_high": d and d[2],
            }
            for model, split, auc, low, high, d in COMPARED
        ]  # fmt: skip
        self.table("recommender_comparison", compared, schemas.RECOMMENDER_COMPARISON)
        further = {"auc": 0.61234, "warm_auc": 0.625, "cold_auc": None, "auc_category": 0.5625, "gini_at_10": 0.875}
        figures = dg.MetadataValue.json({"vbpr": {"test": {"auc": 0.7}}, "dvbpr": {"test": further}})
        self.say("recommender_evaluation", MODE, figures=figures)
        self.table("recommender_evaluation", self._evaluated(), schemas.RECOMMENDER_EVALUATION, MODE)
        self.say("recommendations", MODE, model="abc")
        for asset in ("dvbpr", "catalogue"):
            self.say(asset, MODE)
        self.say("recommender_comparison", mlflow_run_id="mlflow-of-comparison")
        return self

    def _evaluated(self) -> list[dict]:
        """Make evaluation rows: user u's AUC is u / 4 by DVBPR and a half by popularity."""
        rest = dict.fromkeys(schemas.RECOMMENDER_EVALUATION.names[5:], 0.5)
        return [
            {**rest, "user": u, "model": model, "split": "test", "paired": True, "held": 1, "auc": auc}
            for u in range(self.users)
            for model, auc in (("dvbpr", u / 4), ("popularity", 0.5))
        ]

    def _recommender(self, splits: pa.Table) -> None:
        """Write a model in which every user scores item i with -i, so lower items rank higher."""
        folder = self.storage.model("recommender", "abc", MODE)
        users, items = np.arange(self.users), np.arange(self.items)
        Factors(
            users=users, items=items, theta=np.ones((self.users, 1)) * [1, 0], item=self.places,
            item_bias=np.zeros(self.items), phi=self.places, image_item=items,
        ).save(folder.path / "factors.npz")  # fmt: skip
        bank = self._network(folder.path)
        history = [
            {"epoch": 1, "loss": 0.7, "validation_auc": 0.5},
            {"epoch": 2, "loss": 0.6, "validation_auc": 0.6},
        ]
        inputs = {"splits": table_digest(splits), "image_bank": bank.digest_of(np.arange(self.items))[:16]}
        folder.finish({"asset": "dvbpr", "inputs": inputs, "settings": {"k": 50}, "history": history})

    def _network(self, folder: Path) -> Bank:
        """Add a bank of the products' pictures, and a network trained on one batch of it."""
        bank = build_bank(
            PictureStore(self.storage.pictures), [f"sha{i}" for i in range(self.items)], self.storage.bank, 24
        )
        triplets = {"user": [[0, 1, 2]], "positive": [[0, 1, 2]], "negative": [[[5], [6], [7]]]}
        users, items = np.arange(self.users), np.arange(self.items)
        pairs = np.stack([users, users], 1)
        data = Dataset(
            bank=bank.pixels, bank_row=items, image_item=items, users=users, items=items,
            train=pairs, validation=pairs + np.array([0, 1]), test=pairs + np.array([0, 2]),
            **{f"triplets_{name}": np.array(values) for name, values in triplets.items()}, bank_digest=bank.digest,
        )  # fmt: skip
        settings = DvbprSettings(k=2, input_size=24, padding="same", width=0.02, hidden=0.001, epochs=1, batch_size=3)
        train(data, settings, folder, torch.device("cpu"))
        return bank

    def with_generator(self) -> "MadeUp":
        """Add the generator's grids, frames and figures."""
        pictures = np.random.default_rng(0).integers(0, 256, (len(self.classes), 10, 64, 64, 3), dtype=np.uint8)
        place = self.storage.reports / "pictures"
        sheets.save(place / "generated.png", grid(pictures, row_labels=self.classes))
        labels = [label for name in self.classes for label in (name, "nearest")]
        sheets.save(place / "nearest.png", grid(pictures.repeat(2, axis=0), row_labels=labels))
        folder = self.storage.model("generator", "abc")
        for name in ("fakes_init", "fakes_000100", "fakes_000200"):
            sheets.save(folder.path / f"{name}.png", grid(pictures, row_labels=self.classes))
        folder.finish({"asset": "lsgan", "inputs": {}})
        rows = [
            {"garment": n, "asin": f"A{n}", "garment_class": self.classes[n // 12], "source": "vendor",
             "sha256": f"g{n}", "held_out": False} for n in range(12 * len(self.classes))
        ]  # fmt: skip
        table = self.table("garments", rows, schemas.GARMENTS)
        learnt = np.tile(pictures.reshape(-1, 64, 64, 3), (2, 1, 1, 1))[: len(rows)]
        self.storage.save_garments(table_digest(table), learnt)
        self.say("garments")
        figures = {
            "judge_agreement": 0.8125, "real_judge_agreement": 0.96875, "real_judge_agreement_sd": 0.0125,
            "strange_figure": 4.5,
        }  # fmt: skip
        shared = {"class_agreement_efflite0_64px_n9": 0.75, "real_class_agreement_efflite0_64px_n9": 0.875}
        by_class = {name: {"judge_agreement": 0.9375} for name in self.classes}
        images, classes = (dg.MetadataValue.json(v) for v in (dict.fromkeys(self.classes, 64), list(self.classes)))
        self.say("lsgan", epochs=3.0, steps=200, images=images, classes=classes)
        self.say("generated_garments", classes=classes)
        part = {name: {"red": 0.5, "white": 0.5} for name in self.classes}
        colours = dg.MetadataValue.json({"training": part, "generated": part})
        said = {"figures": figures, "shared_features": shared, "by_class": by_class, "notes": ["hats are few"]}
        said_as_json = {name: dg.MetadataValue.json(value) for name, value in said.items()}
        self.say("generator_evaluation", colours=colours, **said_as_json, **figures)
        return self

    def with_designs(self) -> "MadeUp":
        """Add one person's designs, one for each class, and a product restyled for two people."""
        pictures = np.random.default_rng(1).integers(0, 256, (len(self.classes), 4, 64, 64, 3), dtype=np.uint8)
        steps = ["start", "step 1", "step 2", "step 3"]
        reports = self.storage.reports
        sheets.save(reports / "designs" / "user-1.png", grid(pictures, self.classes, steps))
        sheets.save(reports / "restyled" / "product-0.png", grid(pictures[:2], ["user 0", "user 1"], steps))

        def row(user: int, name: str, item: int | None, strip: str) -> dict:
            return {
                "user": user, "garment_class": name, "item": item, "place": 1, "start": 0, "score_before": 0.25,
                "score_after": 1.75, "gain_sd": 0.5, "own_rank_in_class": 1, "nearest_asin": None, "nearest_l1": None,
                "realism_before": 0.5, "realism_after": 0.25, "approximation_l1": None if item is None else 12.0,
                "own_rank": 1, "judges": 20, "z": [], "strip": strip,
            }  # fmt: skip

        designed = [row(1, name, None, "user-1.png") for name in self.classes]
        self.table("personal_designs", designed, schemas.DESIGNS)
        restyled = [row(user, "men_tops", 0, "product-0.png") for user in (0, 1)]
        self.table("restyled_products", restyled, schemas.DESIGNS)
        for asset in ("personal_designs", "restyled_products"):
            self.say(asset)
        swept = [
            {"eta": eta, "preference_gain_sd_mean": 1 - eta, "realism_before_mean": 0.5, "realism_after_mean": eta}
            for eta in (0.0, 0.5)
        ]
        self.say("designs_tradeoff", rows=dg.MetadataValue.json(swept))
        return self

    def with_cards(self) -> "MadeUp":
        """Add both cards of the mode's recommender."""
        folder = self.storage.current("recommender", MODE).path
        card = (
            f"---\nlicense: other\n---\n# The model\n\nIt says {HOSTILE}\n\n## Details\n\n| | |\n|---|---|\n| a | 1 |\n"
        )
        for name in ("model_card.md", "data_card.md"):
            (folder / name).write_text(card)
        self.say("model_cards")
        return self

    def home(self, reviews: str = "", products: str = "/somewhere/hm/products.jsonl") -> Home:
        return Home(self.storage, self.instance, RawSources(reviews=reviews, products=products))

    def page(self, album: Album | None = None, **files: str) -> Page:
        built = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
        return build(self.home(**files), album or Album(), LookbookSettings(), "c0ffee", built)

    def publish(self, **files: str) -> PublishedPages:
        album = Album()
        return publish(self.page(album, **files), album, self.storage.reports)
