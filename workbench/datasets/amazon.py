"""Amazon reviews of 2014 (McAuley): ratings as CSV, the 5-core as JSON lines, and the latter as Parquet."""

from __future__ import annotations

import html
from pathlib import Path

import pandas as pd

from workbench.datasets import reading
from workbench.datasets.dataset import Format, Raw, source_facts

_VERSION = 1
_FILES_PARQUET = ("interactions.parquet", "items.parquet")


def read_parquet(folder: Path) -> Raw:
    """Return ``interactions.parquet`` (user, item, timestamp, pos) with ``items.parquet``.

    Times are whole days, so most neighbours tie: ``pos`` is the order in which they were published.
    """
    table = reading.read_parquet(folder / _FILES_PARQUET[0], ("user", "item", "timestamp", "pos")).to_pandas()
    table = table.sort_values("pos", kind="stable", ignore_index=True).drop(columns="pos")
    table = table.rename(columns={"user": "user_id", "item": "item_id"})
    items = read_items_table(folder / _FILES_PARQUET[1])
    return Raw(table, items, source_facts(folder, _FILES_PARQUET))


def read_items_table(path: Path) -> pd.DataFrame:
    """Return the items of a Parquet file without titles: brand and last category stand for them."""
    found = reading.read_parquet(path, ("item", "brand", "categories")).to_pandas()
    brands = [html.unescape(", ".join(str(brand) for brand in _as_list(value))) for value in found["brand"]]
    categories = [
        [html.unescape(str(category)) for category in _as_list(value)] for value in found["categories"]
    ]
    return pd.DataFrame(
        {
            "item_id": found["item"],
            "title": [shown_as("", brand, some) for brand, some in zip(brands, categories, strict=True)],
            "categories": ["|".join(some) for some in categories],
            "brand": brands,
        }
    )


def shown_as(title: str, brand: str, categories: list[str]) -> str | None:
    """Return what stands for an item: its title, else brand and last category, else nothing."""
    return title or ": ".join(word for word in (brand, categories[-1] if categories else "") if word) or None


def _as_list(value: object) -> list[object]:
    if value is None or isinstance(value, float):
        return []
    return [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]


ADAPTERS = ()
FORMATS = (
    Format(
        name="amazon-parquet",
        files="interactions.parquet (user, item, timestamp, pos) with items.parquet",
        version=_VERSION,
        find=lambda _, names: [_FILES_PARQUET[0]] if set(_FILES_PARQUET) <= set(names) else [],
        read=lambda main: read_parquet(main.parent),
    ),
)
