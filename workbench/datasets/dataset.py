"""What every adapter gives and what every reader gets. Reading formats belongs to the adapters."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from diffsasrec.interactions import Interactions
from diffsasrec.table_checks import as_seconds
from diffsasrec.vocabulary import Vocabulary

_YEAR_2100 = 4102444800
_MOST_FEATURES = 1 << 28  # of all items together, a byte each
_LONGEST_TEXT = 1000  # characters of a title
_PIECE = 1 << 20  # interactions that are looked at together


class Raw(NamedTuple):
    """A data set as its files tell it."""

    table: pd.DataFrame  # user_id, item_id, timestamp, perhaps rating and part, in the order of the file
    items: pd.DataFrame  # item_id, title, categories joined by "|", and more where the source has it
    facts: dict[str, Any]  # counts, notes, and what ``source_facts`` tells: JSON values
    is_dated: bool = True  # False: timestamps are positions, the source tells the order alone
    place: Callable[[int], str] | None = None  # of a row of the table: "ratings.dat, line 17"


@dataclass(frozen=True, kw_only=True)
class Format:
    """A form of raw files that is recognised wherever it lies; a data set in it has one main file."""

    name: str
    files: str  # as people know them
    version: int  # of what ``read`` returns: prepared data of another version is prepared again
    find: Callable[[Path, list[str]], list[str]]  # which of a folder's files are main files of this form
    read: Callable[[Path], Raw]  # from the main file; what belongs to it lies beside it


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """How one known data set comes from its own format."""

    name: str
    read: Callable[[Path], Raw]  # from the folder of raw files
    version: int  # of what ``read`` returns: prepared data of another version is prepared again
    files: tuple[str, ...] = ()  # that ``read`` needs; none for a generated world
    other_files: tuple[str, ...] = ()  # that do as well, all of them
    address: str = ""  # where the files come from
    is_download: bool = True  # whether the address is an archive with its checksum beside it
    place: str = ""  # the folder below that of raw data; default: the name
    licence: str = ""
    known_counts: tuple[dict[str, int], ...] = ()  # users, items, interactions ... of each edition there is

    def missing(self, folder: Path) -> list[str]:
        """Return the files that are not in the folder."""
        missing = [name for name in self.files if not (folder / name).is_file()]
        others = [name for name in self.other_files if not (folder / name).is_file()]
        return [] if self.other_files and not others else missing

    def load(self, folder: Path) -> Raw:
        """Return what ``read`` does, with the licence and the counts known of the edition that is nearest."""
        raw = self.read(folder)
        facts: dict[str, Any] = {"licence": self.licence}
        if self.known_counts:
            facts["known_counts"] = min(
                self.known_counts, key=lambda counts: abs(counts["interactions"] - len(raw.table))
            )
        return raw._replace(facts=facts | raw.facts)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Interactions that are ready, with what a person wants to read about the items."""

    name: str
    interactions: Interactions
    items: pd.DataFrame  # one row per token, in token order: item_id, title, categories ...
    fingerprint: str  # 16 hex digits of all of the above but the name
    facts: dict[str, Any] = field(default_factory=dict)

    def title(self, token: int) -> str:
        """Return an item's title; raise ``ValueError`` for PAD, MASK and anything beyond."""
        return self.titles([token])[0]

    def titles(self, tokens: Iterable[int]) -> list[str]:
        """Return the titles of tokens, in their order."""
        wanted = np.asarray(list(tokens), dtype=np.int64)
        self.interactions.vocabulary.decode(wanted)  # refuses what is no item
        return self.items["title"].iloc[Vocabulary.to_column(wanted)].tolist()


def assemble(name: str, raw: Raw) -> Dataset:
    """Return the data set of a raw one: checked, sorted, counted, with one row of ``items`` per token."""
    source = raw.facts.get("source", name)
    interactions = Interactions.from_table(raw.table, is_dated=raw.is_dated, source=source, place=raw.place)
    _refuse_milliseconds(name, raw, interactions)
    items, notes = _in_token_order(name, raw.items, interactions.vocabulary)
    facts = dict(raw.facts)
    if all_notes := [*facts.pop("notes", []), *notes, *_repeats(interactions)]:
        facts["notes"] = all_notes
    counts = counts_of(interactions) | facts.get("counts", {})
    facts["counts"] = counts
    facts["differences"] = [
        f"{key}: {counts[key]} here, {known} known"
        for key, known in facts.get("known_counts", {}).items()
        if counts[key] != known
    ]
    facts |= days_of(interactions)
    return Dataset(name, interactions, items, fingerprint(interactions, items), facts)


def counts_of(interactions: Interactions) -> dict[str, int]:
    """Return how many users, items and interactions there are."""
    return {
        "users": interactions.num_users,
        "items": interactions.num_items,
        "interactions": interactions.num_interactions,
    }


def days_of(interactions: Interactions) -> dict[str, str]:
    """Return the first and the last day as text, nothing where the data have no dates."""
    if not interactions.is_dated:
        return {}
    times = interactions.timestamps
    return {"first_day": _day(int(times.min())), "last_day": _day(int(times.max()))}


def fingerprint(interactions: Interactions, items: pd.DataFrame) -> str:
    """Return 16 hex digits that change with any interaction, id, given part, title or category.

    Ratings do not count: they only decide what a filter leaves, and what is left has a fingerprint of its own.
    """
    digest = hashlib.sha256()
    ids = interactions.vocabulary.item_ids
    arrays = interactions.user_ids, interactions.offsets, interactions.tokens, interactions.timestamps, ids
    for array in arrays if interactions.parts is None else (*arrays, interactions.parts):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data.cast("B") if array.dtype.kind != "U" else _text(array))
    digest.update(items.to_csv(index=False, lineterminator="\n").encode())
    return digest.hexdigest()[:16]


def source_facts(folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """Return the facts by which a change of raw files is noticed: a hash of all, size and time of each."""
    files = list(names)
    return {
        "source_hash": hash_files(folder, files),
        "raw_files": {str((folder / name).absolute()): _size_and_time(folder / name) for name in files},
    }


def changed_files(facts: dict[str, Any]) -> list[str]:
    """Return the raw files that are still where they were read, and differ in size or time from then."""
    return [
        name
        for name, then in facts.get("raw_files", {}).items()
        if Path(name).is_file() and _size_and_time(Path(name)) != then
    ]


def _size_and_time(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def hash_files(folder: Path, names: Iterable[str]) -> str:
    """Return 16 hex digits of the names and the content of raw files."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{name}:{(folder / name).stat().st_size}:".encode())
        with (folder / name).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]


def _refuse_milliseconds(name: str, raw: Raw, interactions: Interactions) -> None:
    latest = int(interactions.timestamps.max())
    if latest >= _YEAR_2100:
        row = int(np.argmax(as_seconds(raw.table["timestamp"]) == latest))
        where = raw.place(row) if raw.place is not None else f"{name}: row {row + 1}"
        raise ValueError(
            f"{where}: timestamp {latest} lies after the year 2100: seconds since 1970 are expected; "
            "divide milliseconds by 1000"
        )


def _in_token_order(name: str, items: pd.DataFrame, vocabulary: Vocabulary) -> tuple[pd.DataFrame, list[str]]:
    """Return one row per token, and what was wrong with titles: an id stands for one that is missing."""
    twice = items["item_id"].duplicated()
    if twice.any():
        raise ValueError(
            f"{name}: item {str(items.loc[twice, 'item_id'].iloc[0])[:60]} is described twice: drop one row"
        )
    ordered = items.set_index("item_id").reindex(pd.Index(vocabulary.item_ids, name="item_id")).reset_index()
    untitled = ordered["title"].isna().to_numpy()
    ordered["title"] = ordered["title"].where(~untitled, ordered["item_id"].astype("str")).astype("str")
    ordered["categories"] = ordered["categories"].fillna("").astype("str")
    notes = [f"{untitled.sum()} items have no title: their ids are shown"] if untitled.any() else []
    for column in ("title", "categories"):
        long = (ordered[column].str.len() > _LONGEST_TEXT).to_numpy()
        if long.any():
            ordered[column] = ordered[column].str.slice(0, _LONGEST_TEXT)
            notes.append(f"{column} of {long.sum()} items cut to {_LONGEST_TEXT} characters")
    return ordered, notes


def _repeats(interactions: Interactions) -> list[str]:
    """Return a note when interactions repeat another one's user, item and time, as lines that stand twice do.

    Where the source tells no time, an interaction repeats the one before.
    """
    count = 0
    borders = np.searchsorted(interactions.offsets, np.arange(0, interactions.num_interactions, _PIECE))
    for first, last in pairwise([*np.unique(borders), interactions.num_users]):
        begin, end = interactions.offsets[first], interactions.offsets[last]
        tokens, times = interactions.tokens[begin:end], interactions.timestamps[begin:end]
        is_new = np.ones(end - begin, dtype=bool)  # another time or user than the row before
        is_new[1:] = times[1:] != times[:-1] if interactions.is_dated else False
        is_new[interactions.offsets[first:last] - begin] = True
        if interactions.is_dated:
            keys = np.cumsum(is_new) * (interactions.num_items + 1) + tokens
            keys.sort()
            count += int(np.count_nonzero(keys[1:] == keys[:-1]))
        else:
            count += int(np.count_nonzero((tokens[1:] == tokens[:-1]) & ~is_new[1:]))
    words = (
        "the same user, item and time as another" if interactions.is_dated else "the item of the one before"
    )
    return [f"{count} interactions have {words}: all are kept"] if count else []


def _text(ids: NDArray) -> bytes:
    return "\0".join(ids.tolist()).encode()


def _day(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d")


def item_features(items: pd.DataFrame) -> NDArray[np.bool_] | None:
    """Return which item has which category, (N, F) bool; None without categories, or with more than memory is for."""
    each = items["categories"].reset_index(drop=True).str.split("|").explode()
    each = each[each.fillna("").str.strip() != ""]
    codes, names = pd.factorize(each)
    if len(names) == 0 or len(items) * len(names) > _MOST_FEATURES:
        return None
    features = np.zeros((len(items), len(names)), dtype=bool)
    features[each.index, codes] = True
    return features
