"""RecBole's atomic files: ``<name>.inter``, ``<name>.item``; tabs between fields, ``name:type`` in the first line."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from workbench.datasets import reading
from workbench.datasets.dataset import Format, Raw, source_facts
from workbench.datasets.reading import NUMBER, TEXT
from workbench.datasets.table import odd_ids, positions, whole_numbers

_VERSION = 1
_TITLES = ("title", "movie_title", "name", "item_name", "product_name")
_CATEGORIES = ("genre", "class", "categories", "category")


def read_inter(path: Path) -> Raw:
    """Return ``user_id``, ``item_id`` and, where they are, ``rating`` and ``timestamp``, with titles of the items.

    Without a timestamp the order of the file is the order of time.
    """
    fields = _fields(path)
    wanted = {"user_id": TEXT, "item_id": TEXT}
    wanted |= {name: NUMBER for name in ("rating", "timestamp") if name in fields}
    for name in wanted:
        reading.check_column(path.name, name, list(fields), delimiter="\t")
    kinds = {fields[name]: kind for name, kind in wanted.items()}
    table, place, notes = reading.read_columns(path, kinds, delimiter="\t", has_header=True, quoted=False)
    table = table[list(kinds)].set_axis(list(wanted), axis="columns")
    for name in ("user_id", "item_id"):
        notes = notes + odd_ids(table[name])
        table[name] = whole_numbers(table[name])
    is_dated = "timestamp" in table
    if not is_dated:
        table["timestamp"] = positions(table["user_id"])
    files = [path.name]
    ids = table["item_id"].unique()
    items = pd.DataFrame({"item_id": ids, "title": pd.Series(ids).astype("str"), "categories": ""})
    described = path.with_suffix(".item")
    if described.is_file():
        files.append(described.name)
        items = _read_items(described, items["item_id"])
    facts = {"source": path.name, "notes": notes, **source_facts(path.parent, files)}
    return Raw(table, items, facts, is_dated=is_dated, place=place)


def _fields(path: Path) -> dict[str, str]:
    """Return name -> column of a file whose first line reads ``name:type`` in each field."""
    line, columns = reading.read_header(path, "\t", quoted=False)
    wrong = next(
        (column for column in columns if not re.fullmatch(r"[^:]+:(token|float)(_seq)?", column)), None
    )
    if wrong is not None:
        reading.bad_line(path, line, f"{reading.shown(wrong)} is not name:type, as in user_id:token")
    return {column.split(":")[0]: column for column in columns}


def _read_items(path: Path, ids: pd.Series) -> pd.DataFrame:
    """Return the described among the items; words of a sequence are joined by spaces, perhaps by commas too."""
    fields = _fields(path)
    reading.check_column(path.name, "item_id", list(fields), delimiter="\t")
    title = next((name for name in _TITLES if name in fields), None)
    categories = next((name for name in _CATEGORIES if name in fields), None)
    kinds = {fields[name]: TEXT for name in ("item_id", title, categories) if name is not None}
    found = reading.read_columns(path, kinds, delimiter="\t", has_header=True, quoted=False).table.astype(
        "str"
    )
    known = found[fields["item_id"]].map({str(value): value for value in ids})
    items = pd.DataFrame({"item_id": known, "title": None, "categories": ""})
    if title is not None:
        items["title"] = found[fields[title]].str.strip().replace("", None)
    if categories is not None:
        items["categories"] = [_joined(text) for text in found[fields[categories]]]
    items = items[items["item_id"].notna()]
    return items.astype({"item_id": ids.dtype})


def _joined(text: str) -> str:
    words = text.split(",") if "," in text else text.split(" ")
    return "|".join(word for each in words if (word := each.strip(" '\"")))


FORMATS = (
    Format(
        name="recbole",
        files="<name>.inter, perhaps with <name>.item",
        version=_VERSION,
        find=lambda _, names: [name for name in names if name.endswith(".inter")],
        read=read_inter,
    ),
)
