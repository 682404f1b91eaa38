"""Filtered data sets by name: ``ml-1m~5core~min4~norepeats`` is ``ml-1m`` with three filters.

What a name says, and how a variant is made of its base. Where it is kept belongs to ``prepared``.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, NamedTuple

import numpy as np

from diffsasrec.config import unknown_name
from diffsasrec.filters import FilterConfig, apply_filters
from workbench.datasets.dataset import Dataset, counts_of, days_of, fingerprint

SEPARATOR = "~"
EXAMPLES = ("5core", "min4", "norepeats")
_VERSION = 1  # of what ``filtered`` returns
_CORE, _MIN = re.compile(r"([1-9]\d{0,5})core"), re.compile(r"min(\d{1,6}(?:\.\d{1,3})?)")
_OF_THE_BASE = ("known_counts", "counts", "differences", "toy_config", "first_day", "last_day", "raw_files")


class Variant(NamedTuple):
    """What the name of a filtered data set says."""

    name: str  # canonical: whatever the order of the filters that were asked for
    base: str
    filters: FilterConfig


def base_name(name: str) -> str:
    """Return the name of the data set that a name is a variant of; the name itself where it is none."""
    return name.split(SEPARATOR, 1)[0]


def parse(name: str) -> Variant:
    """Return what a name with filters says; raise ``ValueError`` for a filter that is unknown or stands twice."""
    base, *suffixes = name.split(SEPARATOR)
    found: dict[str, Any] = {}
    for suffix in suffixes:
        field, value = _filter(suffix)
        if field in found:
            raise ValueError(f"{name!r} filters twice by {field}: leave {SEPARATOR}{suffix} out")
        found[field] = value
    filters = FilterConfig(**found)
    words = [
        *([f"{filters.k_core}core"] if filters.k_core is not None else []),
        *([f"min{_short(filters.min_rating)}"] if filters.min_rating is not None else []),
        *(["norepeats"] if filters.drop_repeats else []),
    ]
    return Variant(SEPARATOR.join([base, *words]), base, filters)


def canonical_name(name: str) -> str:
    """Return the name under which a data set is kept; raise ``ValueError`` for an unknown filter."""
    return parse(name).name


def filtered(base: Dataset, variant: Variant) -> Dataset:
    """Return the data set that the filters leave: titles kept, and facts that say what was left out."""
    try:
        interactions = apply_filters(base.interactions, variant.filters)
    except ValueError as error:
        raise ValueError(f"{variant.name}: {error}") from error
    kept = np.searchsorted(base.interactions.vocabulary.item_ids, interactions.vocabulary.item_ids)
    items = base.items.iloc[kept].reset_index(drop=True)
    before, after = counts_of(base.interactions), counts_of(interactions)
    words = ", ".join(f"{after[name]:,} of {before[name]:,} {name}" for name in after)
    facts = {name: value for name, value in base.facts.items() if name not in _OF_THE_BASE}
    facts["notes"] = [
        *facts.get("notes", []),
        f"{', '.join(variant.filters.names)} of {base.name} ({base.fingerprint}): {words} are left",
    ]
    facts |= {"counts": after, "differences": [], **days_of(interactions)}
    return Dataset(variant.name, interactions, items, fingerprint(interactions, items), facts)


def version_of(base: Dataset, variant: Variant) -> int:
    """Return a number that changes with the base, with its ratings where they filter, and with this module."""
    digest = hashlib.sha256(f"{_VERSION} {base.fingerprint}".encode())
    if variant.filters.min_rating is not None and base.interactions.ratings is not None:
        digest.update(np.ascontiguousarray(base.interactions.ratings).data.cast("B"))
    return int.from_bytes(digest.digest()[:6], "little")


def _filter(suffix: str) -> tuple[str, Any]:
    """Return the field of ``FilterConfig`` that a suffix sets, and its value."""
    if suffix == "norepeats":
        return "drop_repeats", True
    if found := _CORE.fullmatch(suffix):
        return "k_core", int(found[1])
    if found := _MIN.fullmatch(suffix):
        return "min_rating", float(found[1])
    raise unknown_name("filter of a data set", suffix, EXAMPLES)


def _short(rating: float | None) -> str:
    return f"{rating:.3f}".rstrip("0").rstrip(".")
