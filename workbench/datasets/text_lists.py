"""The text lists of SASRec's implementations: ``user item`` a line, in the order of time, which itself is not told."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from workbench.datasets import reading
from workbench.datasets.dataset import Format, Raw, source_facts
from workbench.datasets.table import odd_ids, positions, whole_numbers

_VERSION = 1
_FIRST_LINE = re.compile(rb"(?:\xef\xbb\xbf)?[0-9]+([ \t])[0-9]+[ \t]*\r?(\n|$)")
_START = 100  # bytes that are looked at to tell a list from other text


def read_text_list(path: Path) -> Raw:
    """Return the interactions in the order of the lines; ids stand for titles."""
    match = _FIRST_LINE.match(_start(path))
    delimiter = match[1].decode() if match else " "
    kinds = {"user_id": reading.TEXT, "item_id": reading.TEXT}
    table, place, notes = reading.read_columns(
        path, kinds, delimiter=delimiter, has_header=False, quoted=False
    )
    for name in kinds:
        notes = notes + odd_ids(table[name])
        table[name] = whole_numbers(table[name])
    table["timestamp"] = positions(table["user_id"])
    ids = table["item_id"].unique()
    items = pd.DataFrame({"item_id": ids, "title": pd.Series(ids).astype("str"), "categories": ""})
    facts = {"source": path.name, "notes": notes, **source_facts(path.parent, [path.name])}
    return Raw(table, items, facts, is_dated=False, place=place)


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_START)


FORMATS = (
    Format(
        name="text-list",
        files="<name>.txt (user item, a line each)",
        version=_VERSION,
        find=lambda folder, names: [
            name for name in names if name.endswith(".txt") and _FIRST_LINE.match(_start(folder / name))
        ],
        read=read_text_list,
    ),
)
