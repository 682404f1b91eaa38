"""Amazon Reviews 2023 (Hou et al. 2024): reviews as JSON lines, ratings alone as CSV, and their ready-made splits.

Times are milliseconds; they order what falls into the same second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from workbench.datasets import reading
from workbench.datasets.amazon import (
    as_text,
    beside,
    check_reviews,
    described,
    items_of,
    names_one_of,
    once_each,
    slug,
)
from workbench.datasets.dataset import Adapter, Format, Raw, source_facts
from workbench.datasets.reading import INTEGER, NUMBER, TEXT

_VERSION = 1
_ADDRESS = "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023"
_LICENCE = "research use with citation (Hou et al. 2024)"
_FIELDS = {"user_id": TEXT, "parent_asin": TEXT, "rating": NUMBER, "timestamp": INTEGER}
_COLUMNS = ("user_id", "item_id", "rating", "timestamp")
_EARLIEST = 10**11  # milliseconds: March 1973; any smaller number must be seconds
_PARTS = ("train", "valid", "test")
_REVIEWS = re.compile(r"(?!meta_|train\b|val\b|valid\b|validation\b|test\b)(\w+)\.jsonl(\.gz)?")
_TRAIN = re.compile(r"(\w+)\.train\.csv(\.gz)?")
_RATINGS = re.compile(r"\w+\.csv(\.gz)?")
_PARENT = re.compile(r'"parent_asin": ?"(\w+)"')

CATEGORIES = (
    *("All_Beauty", "Amazon_Fashion", "Appliances", "Arts_Crafts_and_Sewing", "Automotive", "Baby_Products"),
    *("Beauty_and_Personal_Care", "Books", "CDs_and_Vinyl", "Cell_Phones_and_Accessories"),
    *("Clothing_Shoes_and_Jewelry", "Digital_Music", "Electronics", "Gift_Cards", "Grocery_and_Gourmet_Food"),
    *("Handmade_Products", "Health_and_Household", "Health_and_Personal_Care", "Home_and_Kitchen"),
    *("Industrial_and_Scientific", "Kindle_Store", "Magazine_Subscriptions", "Movies_and_TV"),
    *("Musical_Instruments", "Office_Products", "Patio_Lawn_and_Garden", "Pet_Supplies", "Software"),
    *("Sports_and_Outdoors", "Subscription_Boxes", "Tools_and_Home_Improvement", "Toys_and_Games"),
    *("Video_Games", "Unknown"),
)


def read_reviews(path: Path) -> Raw:
    """Return ``<Category>.jsonl.gz``, by parent product, with titles from ``meta_<Category>.jsonl.gz`` beside it."""
    return _raw([path], [reading.read_json_columns(path, _FIELDS)])


def read_ratings(path: Path) -> Raw:
    """Return ``user_id,parent_asin,rating,timestamp`` lines, titled as ``read_reviews`` does."""
    return _raw([path], [_read_csv(path)])


def read_split(path: Path) -> Raw:
    """Return ``<Category>.train.csv`` with ``.valid.csv`` and ``.test.csv``; parts stay as they are.

    The column ``history`` repeats the user's earlier items and is not read.
    """
    paths = [path.with_name(path.name.replace(".train.", f".{part}.")) for part in _PARTS]
    return _raw(paths, [_read_csv(each) for each in paths])


def _read_csv(path: Path) -> reading.Columns:
    return reading.read_columns(path, _FIELDS, delimiter=",", has_header=True, quoted=True)


def _raw(paths: list[Path], found: list[reading.Columns]) -> Raw:
    """Return the interactions of one file, or of the three parts of a split."""
    tables = [columns.table[list(_FIELDS)].set_axis(_COLUMNS, axis="columns") for columns in found]
    if len(tables) > 1:
        tables = [table.assign(part=np.int8(part)) for part, table in enumerate(tables)]
    starts = np.cumsum([0, *(len(table) for table in tables)])
    table = _joined(tables)

    def place(row: int) -> str:
        part = int(np.searchsorted(starts, row, side="right")) - 1
        return found[part].place(row - int(starts[part]))

    table = _in_seconds(table, place)
    stem = paths[0].name.split(".")[0]
    meta = beside(paths[0], f"meta_{stem}.jsonl.gz", f"meta_{stem}.jsonl")
    notes = [note for columns in found for note in columns.notes]
    if meta is None:
        notes.append(f"no meta_{stem}.jsonl.gz lies beside {paths[0].name}: ids stand for titles")
    rows = table.index  # of the files
    notes += check_reviews(reading.Columns(table, lambda row: place(int(rows[row])), []))
    items = items_of(table, None if meta is None else partial(_read_metadata, meta))
    files = [path.name for path in (*paths, *([meta] if meta is not None else []))]
    facts = {"source": paths[0].name, "notes": notes, **source_facts(paths[0].parent, files)}
    return Raw(as_text(table), items, facts, place=lambda row: place(int(rows[row])))


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of all tables, ids still as categories."""
    if len(tables) == 1:
        return tables[0]
    table = pd.concat([as_text(table) for table in tables], ignore_index=True)
    return table.astype({"user_id": "category", "item_id": "category"})


def _in_seconds(table: pd.DataFrame, place: Any) -> pd.DataFrame:
    """Return the table in the order of its milliseconds, told in seconds; an index still names the file's row."""
    times = table["timestamp"].to_numpy()
    wrong = times < _EARLIEST
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{place(row)}: timestamp {times[row]} is no number of milliseconds since 1970")
    table = table.iloc[np.argsort(times, kind="stable")]
    table = table.assign(timestamp=table["timestamp"] // 1000)
    if "part" in table:
        by_user = table.sort_values("user_id", kind="stable")
        back = (by_user["part"].diff() < 0) & (by_user["user_id"] == by_user["user_id"].shift())
        if back.any():
            row = int(by_user.index[int(np.argmax(back.to_numpy()))])
            raise ValueError(f"{place(row)}: it is later than what the user has in a part that comes after")
    return table


def _read_metadata(path: Path, ids: set[str]) -> pd.DataFrame:
    """Return the items among ``ids``; a store stands for a brand."""

    def rows() -> Iterator[tuple[str, str, str, list[Any]]]:
        lines = reading.json_lines(path, {"parent_asin": str}, is_wanted=names_one_of(ids, _PARENT))
        for _, item in once_each(lines, path, key="parent_asin"):
            categories = item.get("categories")
            categories = categories if isinstance(categories, list) else []
            yield item["parent_asin"], str(item.get("title") or ""), str(item.get("store") or ""), categories

    return described(rows())


def _adapter(category: str, edition: str, where: str, *, is_csv: bool) -> Adapter:
    file = f"{category}.csv.gz" if is_csv else f"{category}.jsonl.gz"
    read = read_ratings if is_csv else read_reviews

    def read_folder(folder: Path) -> Raw:
        return read(beside(folder / file, file, file.removesuffix(".gz")) or folder / file)

    return Adapter(
        name=f"amazon-{slug(category)}-{edition}",
        read=read_folder,
        version=_VERSION,
        files=(file,),
        other_files=(file.removesuffix(".gz"),),
        address=f"{_ADDRESS}/{where}/{file} (titles: raw/meta_categories/meta_{category}.jsonl.gz there)",
        is_download=False,
        licence=_LICENCE,
    )


def _is_ratings(folder: Path, name: str) -> bool:
    if not _RATINGS.fullmatch(name):
        return False
    try:
        return reading.read_header(folder / name, ",").names == list(_FIELDS)
    except ValueError:
        return False


ADAPTERS = tuple(
    adapter
    for category in CATEGORIES
    for adapter in (
        _adapter(category, "2023", "raw/review_categories", is_csv=False),
        _adapter(category, "2023-0core", "benchmark/0core/rating_only", is_csv=True),
        _adapter(category, "2023-5core", "benchmark/5core/rating_only", is_csv=True),
    )
)
FORMATS = (
    Format(
        name="amazon-2023-reviews",
        files="<Category>.jsonl.gz, perhaps with meta_<Category>.jsonl.gz",
        version=_VERSION,
        find=lambda _, names: [name for name in names if _REVIEWS.fullmatch(name)],
        read=read_reviews,
    ),
    Format(
        name="amazon-2023-ratings",
        files="<Category>.csv (user_id,parent_asin,rating,timestamp)",
        version=_VERSION,
        find=lambda folder, names: [name for name in names if _is_ratings(folder, name)],
        read=read_ratings,
    ),
    Format(
        name="amazon-2023-split",
        files="<Category>.train.csv with .valid.csv and .test.csv",
        version=_VERSION,
        find=lambda _, names: [name for name in names if _TRAIN.fullmatch(name)],
        read=read_split,
    ),
)
