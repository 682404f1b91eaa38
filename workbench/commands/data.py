"""``workbench prepare``: a data set in the form that training reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.commands.messages import log_progress, say

if TYPE_CHECKING:
    from workbench.datasets import Dataset


def prepare(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="a known name, or one for your own files")
    ],
    from_: Annotated[
        Path | None, typer.Option("--from", metavar="PATH", help="raw files that are there already")
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", metavar="FORM", help="of your own files, where they do not tell")
    ] = None,
    user_col: Annotated[str | None, typer.Option(help="the column of users, in your own file")] = None,
    item_col: Annotated[str | None, typer.Option(help="the column of items")] = None,
    time_col: Annotated[str | None, typer.Option(help="the column of timestamps")] = None,
    rating_col: Annotated[str | None, typer.Option(help="the column of ratings, where there is one")] = None,
    title_col: Annotated[str | None, typer.Option(help="the column of titles of items")] = None,
    category_col: Annotated[str | None, typer.Option(help="the column of categories, joined by |")] = None,
    runs: Annotated[Path | None, typer.Option("--runs", hidden=True)] = None,
) -> None:
    """Bring a data set into the form that training reads, once.

    The form of your own files is found out, or said with --format: movielens-csv, movielens-dat, movielens-100k,
    amazon-ratings, amazon-reviews, amazon-parquet, amazon-2023-reviews, amazon-2023-ratings, amazon-2023-split,
    netflix, recbole, text-list, given-split; or a CSV, TSV or Parquet file with named columns. docs/data.md says
    which files each of them is, and names the data sets that are known.
    """
    if runs is not None:
        say("note: --runs has no effect on prepare: DIFFSASREC_CACHE says where prepared data goes")
    log_progress()
    from workbench import datasets

    columns = {
        "user_col": user_col,
        "item_col": item_col,
        "time_col": time_col,
        "rating_col": rating_col,
        "title_col": title_col,
        "category_col": category_col,
    }
    prepared = datasets.prepare(dataset, from_dir=from_, form=format_, **columns)
    describe(prepared)
    for remark in (*prepared.facts["differences"], *prepared.facts.get("notes", [])):
        say(f"note: {remark}")


def describe(dataset: Dataset) -> None:
    """Print how large a prepared data set is, and its fingerprint."""
    data = dataset.interactions
    print(
        f"{dataset.name}: {data.num_users:,} users, {data.num_items:,} items, "
        f"{data.num_interactions:,} interactions, fingerprint {dataset.fingerprint}"
    )
