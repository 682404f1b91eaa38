"""Published rows, what the audit says of each, and our own results beside them with what was measured differently.

A table lies in a folder with ``protocols.json``: for the rows whose name begins with some words, the data set that it
is here, what is known of the protocol (fields of ``Protocol``; what is not published is left out), and a remark.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from diffsasrec.protocol import Protocol, comparable, read_protocol
from workbench.audit import Row, read_figures, verdicts
from workbench.results import WAYS
from workbench.run_files import read_json

PROTOCOLS = "protocols.json"
OURS = "ours"
CAN_BE_TRUE = "yes"
_WORDS = ("system", "can it be true", "measured differently")  # of a row of ours; the others are figures


def audited(path: Path) -> pd.DataFrame:
    """Return a row per row of a table: its name, its figures as fractions, and whether it can be true or why not."""
    rows = read_figures(path)
    found = verdicts(rows)
    return pd.DataFrame([_published(row, found[row.name]) for row in rows])


def beside_ours(path: Path, results: Path) -> dict[str, pd.DataFrame]:
    """Return, for each data set of a table that ``results`` holds too, its published rows and below them ours.

    ``measured differently`` says for a row of ours what its protocol and the published one differ in, ours first. A row
    of ours is the mean over a system's seeds.
    """
    described = path.parent / PROTOCOLS
    entries = read_json(described) if described.is_file() else []
    rows = read_figures(path)
    found = verdicts(rows)
    kept = [read_json(file) for file in sorted(results.glob("*.json"))]
    published: dict[str, list[dict[str, Any]]] = {}
    ours: dict[str, list[dict[str, Any]]] = {}
    for entry in (entry for entry in entries if entry["table"] == path.name):
        name = entry["rows"]
        published[name] = [
            _published(row, found[row.name]) for row in rows if row.name.startswith(f"{name}, ")
        ]
        ours.setdefault(name, []).extend(
            row
            for document in kept
            if document["manifest"]["dataset"]["name"] == entry["dataset"]
            for row in _ours(document, entry)
        )
    return {
        name: pd.concat([pd.DataFrame(published[name]), _over_seeds(ours[name])], ignore_index=True)
        for name in ours
        if published[name] and ours[name]
    }


def in_words(tables: Mapping[str, pd.DataFrame]) -> str:
    """Say which rows of some audited tables, by the name of the table, cannot be true."""
    sentences = []
    for name, table in tables.items():
        broken = table.loc[table["can it be true"] != CAN_BE_TRUE, "system"].tolist()
        if broken:
            sentences.append(
                f"{len(broken)} of the {len(table)} rows of {name} cannot be true: {'; '.join(broken)}."
            )
        else:
            sentences.append(f"Every one of the {len(table)} rows of {name} can be true.")
    return " ".join(sentences)


def _published(row: Row, why: str) -> dict[str, Any]:
    return {"system": row.name, **row.figures, "can it be true": f"no: {why}" if why else CAN_BE_TRUE}


def _ours(document: Mapping[str, Any], entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return our rows of one run on the test part, of each way the one that is measured most alike."""
    rows: dict[str, dict[str, Any]] = {}
    for result in document["metrics"]["results"]:
        if result["part"] != "test":
            continue
        protocol = read_protocol(result["protocol"])
        differences = comparable(protocol, _as_published(protocol, entry["protocol"]))
        row = {
            "system": f"{OURS}: {document['manifest']['config']['model']}, {WAYS[protocol.recommend]}",
            **{
                name.replace("Coverage", "COV"): figure["value"] for name, figure in result["figures"].items()
            },
            "can it be true": CAN_BE_TRUE,  # evaluate asserts the same bounds
            "measured differently": "; ".join([*differences, *filter(None, [entry["words"]])]),
        }
        way = protocol.recommend
        if way not in rows or len(row["measured differently"]) < len(rows[way]["measured differently"]):
            rows[way] = row
    return list(rows.values())


def _over_seeds(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the means of the rows that differ in their figures alone, in the order of their first ones."""
    table = pd.DataFrame(rows)
    means = table.groupby(list(_WORDS), sort=False, as_index=False).mean(numeric_only=True)
    return means.reindex(columns=table.columns)


def _as_published(protocol: Protocol, known: Mapping[str, Any]) -> Protocol:
    """Return our protocol with what is known of the published one in its place."""
    changes = {**known, "split": dataclasses.replace(protocol.split, **known.get("split", {}))}
    return dataclasses.replace(protocol, **changes)
