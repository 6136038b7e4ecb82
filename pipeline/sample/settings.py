"""Settings of the embedded catalogue: its size, its seed and how sharp the planted tastes are."""

from dataclasses import dataclass

DEFAULT_PORT = 8877  # the same in every run, because the URL is the key of the image ledger


@dataclass(frozen=True)
class SampleSettings:
    """Settings of the catalogue. The defaults are those of the demo; tests use a few dozen items and users.

    items: products that shoppers choose from (the six classes in turn).
    users: shoppers with at least `purchases_min` distinct purchases, who therefore stay in the 5-core.
    casual_users: shoppers with one to four purchases, whom the 5-core drops.
    extra_items: garments without reviews, for the generator. other_products: watches, bags, dresses, jackets.
    temperature: of the softmax from which a shopper's choices are drawn; smaller is sharper.
    popularity_spread: standard deviation of the planted item bias, in units of utility.
    photo_share: share of reviews with customer photos.
    """

    seed: int = 7
    items: int = 720
    users: int = 320
    casual_users: int = 200
    extra_items: int = 60
    other_products: int = 48
    purchases_min: int = 8
    purchases_max: int = 14
    temperature: float = 1.0
    popularity_spread: float = 0.2
    photo_share: float = 0.2
    port: int = DEFAULT_PORT

    def __post_init__(self) -> None:
        for name, least in (
            ("seed", 0),
            ("items", 12),
            ("users", 1),
            ("casual_users", 0),
            ("extra_items", 0),
            ("other_products", 0),
            ("purchases_min", 5),
            ("temperature", 1e-6),
            ("popularity_spread", 0.0),
            ("photo_share", 0.0),
            ("port", 1),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"SampleSettings.{name} is {getattr(self, name)}; it must be at least {least}")
        if self.purchases_max < self.purchases_min:
            raise ValueError(
                f"SampleSettings.purchases_max is {self.purchases_max}, below purchases_min = {self.purchases_min}"
            )
        if self.purchases_max > self.items // 2:
            raise ValueError(
                f"SampleSettings.purchases_max is {self.purchases_max}; with {self.items} items it may be "
                f"{self.items // 2} at most (half of them), so that items are left to rank"
            )
        if self.photo_share > 1:
            raise ValueError(f"SampleSettings.photo_share is {self.photo_share}; a share lies in [0, 1]")
        if self.port > 65535:
            raise ValueError(f"SampleSettings.port is {self.port}; ports end at 65535")
