"""Amazon reviews of 2014 (McAuley): ratings as CSV, the 5-core as JSON lines, and the latter as Parquet.

Times are whole days, so most neighbours tie: the order of the file decides.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from workbench.datasets import reading
from workbench.datasets.dataset import Adapter, Format, Raw, source_facts
from workbench.datasets.reading import INTEGER, NUMBER, TEXT

_VERSION = 1
_ADDRESS = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"
_LICENCE = "research use with citation (McAuley et al. 2015)"
_COLUMNS = {"user_id": TEXT, "item_id": TEXT, "rating": NUMBER, "timestamp": INTEGER}
_REVIEW_FIELDS = {"reviewerID": TEXT, "asin": TEXT, "overall": NUMBER, "unixReviewTime": INTEGER}
_FILES_PARQUET = ("interactions.parquet", "items.parquet")
_REVIEWS = re.compile(r"reviews_(\w+?)(_\d+)?\.json(\.gz)?")
_ASIN = re.compile(r"'asin': '(\w+)'")
_LENGTH_OF_ASIN = 10
_ITEM, _USER = r"[0-9A-Z]{10}", r"[0-9A-Z]{8,30}"

CATEGORIES = {  # ratings; reviews of the 5-core
    "Amazon_Instant_Video": (583_933, 37_126),
    "Apps_for_Android": (2_638_172, 752_937),
    "Automotive": (1_373_768, 20_473),
    "Baby": (915_446, 160_792),
    "Beauty": (2_023_070, 198_502),
    "Books": (22_507_155, 8_898_041),
    "CDs_and_Vinyl": (3_749_004, 1_097_592),
    "Cell_Phones_and_Accessories": (3_447_249, 194_439),
    "Clothing_Shoes_and_Jewelry": (5_748_920, 278_677),
    "Digital_Music": (836_006, 64_706),
    "Electronics": (7_824_482, 1_689_188),
    "Grocery_and_Gourmet_Food": (1_297_156, 151_254),
    "Health_and_Personal_Care": (2_982_326, 346_355),
    "Home_and_Kitchen": (4_253_926, 551_682),
    "Kindle_Store": (3_205_467, 982_619),
    "Movies_and_TV": (4_607_047, 1_697_533),
    "Musical_Instruments": (500_176, 10_261),
    "Office_Products": (1_243_186, 53_258),
    "Patio_Lawn_and_Garden": (993_490, 13_272),
    "Pet_Supplies": (1_235_316, 157_836),
    "Sports_and_Outdoors": (3_268_695, 296_337),
    "Tools_and_Home_Improvement": (1_926_047, 134_476),
    "Toys_and_Games": (2_252_771, 167_597),
    "Video_Games": (1_324_753, 231_780),
}
_USERS_AND_ITEMS = {  # of the ratings; of the 5-core
    "Beauty": ((1_210_271, 249_274), (22_363, 12_101)),
    "Toys_and_Games": ((1_342_911, 327_698), (19_412, 11_924)),
}


def read_ratings(path: Path) -> Raw:
    """Return ``user,item,rating,timestamp`` lines, whether the first one names the columns or not."""
    first = reading.read_header(path, ",").names
    has_header = len(first) == len(_COLUMNS) and not first[-1].lstrip("-").isdecimal()
    kinds = dict(zip(first if has_header else _COLUMNS, _COLUMNS.values(), strict=True))
    found = reading.read_columns(path, kinds, delimiter=",", has_header=has_header, quoted=has_header)
    table = found.table.set_axis(list(_COLUMNS), axis="columns")
    notes = list(found.notes)
    if _are_asins(table["user_id"]) and not _are_asins(table["item_id"]):
        notes.append(f"{path.name}: the first column holds items, as in the edition of 2018: it is read so")
        table = table.rename(columns={"user_id": "item_id", "item_id": "user_id"})[list(_COLUMNS)]
    items = items_of(table, None)
    notes += check_reviews(found._replace(table=table))
    facts = {"source": path.name, "notes": notes, **source_facts(path.parent, [path.name])}
    return Raw(as_text(table), items, facts, place=found.place)


def read_reviews(path: Path) -> Raw:
    """Return JSON lines of reviews, with titles where ``meta_<Category>.json.gz`` lies beside them."""
    found = reading.read_json_columns(path, _REVIEW_FIELDS)
    table = found.table.set_axis(list(_COLUMNS), axis="columns")
    match = _REVIEWS.fullmatch(path.name)
    stem = f"meta_{match[1] if match else path.name.split('.')[0]}.json"
    meta = beside(path, f"{stem}.gz", stem)
    notes = list(found.notes)
    if meta is None:
        notes.append(f"no {stem}.gz lies beside {path.name}: ids stand for titles")
    notes += check_reviews(found._replace(table=table))
    items = items_of(table, meta and (lambda ids: _read_metadata(meta, ids)))
    files = [path.name] if meta is None else [path.name, meta.name]
    facts = {"source": path.name, "notes": notes, **source_facts(path.parent, files)}
    return Raw(as_text(table), items, facts, place=found.place)


def read_parquet(folder: Path) -> Raw:
    """Return ``interactions.parquet`` (user, item, timestamp, pos) with ``items.parquet``.

    ``pos`` is the place in the user's list as it was published.
    """
    path = folder / _FILES_PARQUET[0]
    columns = reading.read_parquet(path, ("user", "item", "timestamp", "pos"))
    if not pa.types.is_integer(columns["pos"].type) or columns["pos"].null_count:
        raise ValueError(
            f"{path.name}: column 'pos' holds {columns['pos'].type} and {columns['pos'].null_count} are missing: "
            "give the whole number of each row's place in its user's list"
        )
    table = columns.to_pandas()
    table = table.sort_values("pos", kind="stable").drop(columns="pos")
    table = table.rename(columns={"user": "user_id", "item": "item_id"})
    items = read_items_table(folder / _FILES_PARQUET[1])
    facts = {"source": path.name, **source_facts(folder, _FILES_PARQUET)}
    rows = table.index  # of the file
    return Raw(table, items, facts, place=lambda row: f"{path.name}: row {int(rows[row]) + 1}")


def read_items_table(path: Path) -> pd.DataFrame:
    """Return the items of a Parquet file without titles: brand and last category stand for them."""
    columns = reading.read_parquet(path, ("item", "brand", "categories"))
    for name in columns.column_names:
        kind = columns[name].type
        lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        inner = kind.value_type if lists and name != "item" else kind
        if not (pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_null(inner)):
            raise ValueError(f"{path.name}: column {name!r} holds {kind}, expected text: convert the column")
    found = columns.to_pandas()
    for wrong, words in (
        (found["item"].isna(), "has no id"),
        (found["item"].duplicated(), "is described a second time"),
    ):
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            item = reading.shown(found["item"].iloc[row])
            raise ValueError(f"{path.name}: row {row + 1}: item {item} {words}: drop the row")
    rows = zip(found["item"], found["brand"], found["categories"], strict=True)
    return described(
        (item, "", ", ".join(map(str, _as_list(brand))), _as_list(path)) for item, brand, path in rows
    )


def described(rows: Iterator[tuple[str, str, str, list[Any]]]) -> pd.DataFrame:
    """Return items of rows of id, title, brand and category path; brand and last category may stand for a title."""
    found = []
    for item, title, brand, path in rows:
        categories = [html.unescape(str(category)) for category in path]
        title, brand = html.unescape(title).strip(), html.unescape(brand).strip()
        shown = title or ": ".join(word for word in (brand, *categories[-1:]) if word)
        found.append((item, shown or None, "|".join(categories), brand))
    return pd.DataFrame(found, columns=["item_id", "title", "categories", "brand"])


def names_one_of(ids: set[str], pattern: re.Pattern[str]) -> Callable[[str], bool]:
    """Return a test of a line: whether the id that the pattern finds in it is wanted, or there is none to find."""

    def is_wanted(line: str) -> bool:
        match = pattern.search(line)
        return match is None or match[1] in ids

    return is_wanted


def once_each(
    items: Iterator[tuple[int, dict[str, Any]]], path: Path, *, key: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield numbered lines of items; refuse one that describes an item again."""
    seen: set[str] = set()
    for number, item in items:
        if item[key] in seen:
            reading.bad_line(path, number, f"item {reading.shown(item[key])} is described a second time")
        seen.add(item[key])
        yield number, item


def items_of(table: pd.DataFrame, describe: Callable[[set[str]], pd.DataFrame] | None) -> pd.DataFrame:
    """Return a row for each item that is described, or, where nothing is, one with its id for each."""
    ids = table["item_id"].cat.categories.astype("str")
    if describe is not None:
        return describe(set(ids))
    return pd.DataFrame({"item_id": ids, "title": ids, "categories": ""})


def check_reviews(found: reading.Columns) -> list[str]:
    """Return notes on ids that are not of the publisher's making; raise for ratings and times that cannot be."""
    reading.check_ratings(found, stars=(1, 5))
    notes = []
    for name, pattern in (("item_id", _ITEM), ("user_id", _USER)):
        ids = found.table[name].cat.categories
        odd = ids[~ids.str.fullmatch(pattern).astype(bool) & (ids != "")]
        if len(odd):
            notes.append(
                f"{len(odd)} of {len(ids)} {name}s do not look like Amazon's ({reading.shown(odd[0])} ...)"
            )
    return notes


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with ids as strings."""
    return table.astype({"user_id": "str", "item_id": "str"})


def beside(path: Path, *names: str) -> Path | None:
    """Return the first of these files that lies beside another."""
    return next((path.parent / name for name in names if (path.parent / name).is_file()), None)


def slug(category: str) -> str:
    """Return a category as part of a data set's name: Toys_and_Games is toys-and-games."""
    return category.lower().replace("_", "-")


def _read_metadata(path: Path, ids: set[str]) -> pd.DataFrame:
    """Return the items among ``ids``: each line is a Python dictionary, not JSON."""

    def rows() -> Iterator[tuple[str, str, str, list[Any]]]:
        lines = reading.literal_lines(path, {"asin": str}, is_wanted=names_one_of(ids, _ASIN))
        for number, item in once_each(lines, path, key="asin"):
            asin = item["asin"]
            title, brand = item.get("title") or "", item.get("brand") or ""
            paths = item.get("categories") or [[]]
            if not (isinstance(title, str) and isinstance(brand, str)) or not isinstance(paths, list):
                reading.bad_line(
                    path,
                    number,
                    f"item {reading.shown(asin)} has a title, brand or categories of another type",
                )
            yield asin, title, brand, _as_list(paths[0])

    return described(rows())


def _are_asins(ids: pd.Series) -> bool:
    return bool((ids.cat.categories.str.len() == _LENGTH_OF_ASIN).all())


def _as_list(value: Any) -> list[Any]:
    if value is None or isinstance(value, float):
        return []
    return list(value) if isinstance(value, list | tuple | np.ndarray) else [value]


def _read_5core(folder: Path, category: str) -> Raw:
    path = folder / f"reviews_{category}_5.json.gz"
    return read_reviews(path) if path.is_file() else read_parquet(folder)


def _counts(category: str, *, is_5core: bool) -> dict[str, int]:
    known = {"interactions": CATEGORIES[category][is_5core]}
    if category in _USERS_AND_ITEMS:
        users, items = _USERS_AND_ITEMS[category][is_5core]
        known = {"users": users, "items": items, **known}
    return known


def _ratings_adapter(category: str) -> Adapter:
    file = f"ratings_{category}.csv"
    return Adapter(
        name=f"amazon-{slug(category)}-2014",
        read=lambda folder: read_ratings(folder / file),
        version=_VERSION,
        files=(file,),
        address=f"{_ADDRESS}/{file}",
        is_download=False,
        licence=_LICENCE,
        known_counts=(_counts(category, is_5core=False),),
    )


def _5core_adapter(category: str) -> Adapter:
    file = f"reviews_{category}_5.json.gz"
    return Adapter(
        name=f"amazon-{slug(category)}-5core",
        read=lambda folder: _read_5core(folder, category),
        version=_VERSION,
        files=(file,),
        other_files=_FILES_PARQUET,
        address=f"{_ADDRESS}/{file} (titles: meta_{category}.json.gz there)",
        is_download=False,
        licence=_LICENCE,
        known_counts=(_counts(category, is_5core=True),),
    )


ADAPTERS = tuple(make(category) for category in CATEGORIES for make in (_ratings_adapter, _5core_adapter))
FORMATS = (
    Format(
        name="amazon-ratings",
        files="ratings_<Category>.csv (user,item,rating,timestamp)",
        version=_VERSION,
        find=lambda _, names: [name for name in names if re.fullmatch(r"ratings_\w+\.csv(\.gz)?", name)],
        read=read_ratings,
    ),
    Format(
        name="amazon-reviews",
        files="reviews_<Category>_5.json.gz, perhaps with meta_<Category>.json.gz",
        version=_VERSION,
        find=lambda _, names: [name for name in names if _REVIEWS.fullmatch(name)],
        read=read_reviews,
    ),
    Format(
        name="amazon-parquet",
        files="interactions.parquet (user, item, timestamp, pos) with items.parquet",
        version=_VERSION,
        find=lambda _, names: [_FILES_PARQUET[0]] if set(_FILES_PARQUET) <= set(names) else [],
        read=lambda main: read_parquet(main.parent),
    ),
)
