"""Tables of figures, ours or published, and the rows of them that cannot be true.

A table is a CSV file with a header. Columns HR@K, NDCG@K, MRR@K and COV@K (or Coverage@K) hold fractions; the
columns of text together are the row's name; columns of other numbers are left alone. An empty cell is a figure that
was not published. The bounds belong to ``diffsasrec.metrics``; nothing is printed here.
"""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from pathlib import Path

from diffsasrec.metrics import impossible

_FIGURE = re.compile(r"(HR|NDCG|MRR|COV|Coverage)@([1-9]\d*)", re.IGNORECASE)
_SPELLINGS = {"hr": "HR", "ndcg": "NDCG", "mrr": "MRR", "cov": "COV", "coverage": "Coverage"}
_LIKE_A_FIGURE = re.compile(r"@\s*\d")
_NUMBER = re.compile(r"[+-]?(\d+\.?(\d*)|\.(\d+))([eE][+-]?\d{1,3})?", re.ASCII)
_MOST_SHOWN = 60  # characters of a wrong cell


@dataclass(frozen=True)
class Row:
    """One system's figures as they were printed."""

    name: str
    figures: dict[str, float]  # HR@10 -> .2919; what was not published is left out
    digits: int  # behind the point, of the figure of this row that shows the most


def read_figures(path: Path) -> list[Row]:
    """Return the rows of a table.

    A row has as many digits as the HR, NDCG or MRR in it that shows the most: a row is printed to one number of
    digits, and programs that write tables drop trailing zeros (.042 beside .0595 is .0420). Rows of one table may
    come from different sources and keep their own number.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no such table; the line, the column and the value are named.
    """
    header, lines = _cells(path)
    columns = _figure_columns(header, path)
    for number, cells in lines:
        if len(cells) != len(header):
            raise ValueError(
                f"{path.name}: line {number} has {len(cells)} cells, the header {len(header)}: "
                "quote what holds a comma, and write figures with a point"
            )
    text = [
        index
        for index in range(len(header))
        if index not in columns and any(_is_text(cells[index]) for _, cells in lines)
    ]
    rows: list[Row] = []
    for number, cells in lines:
        name = ", ".join(cells[index] for index in text if cells[index]) or f"line {number}"
        printed = {
            figure: _figure(cells[index], where=f"{path.name}: line {number}: {figure}")
            for index, figure in columns.items()
            if cells[index]
        }
        if not printed:
            raise ValueError(f"{path.name}: line {number}: {name} has no figure: fill one in or drop the row")
        shown = [digits for figure, (_, digits) in printed.items() if not figure.startswith("C")]
        digits = max(shown or [digits for _, digits in printed.values()])
        rows.append(Row(name, {figure: value for figure, (value, _) in printed.items()}, digits))
    _check_rows(rows, path)
    return rows


def unread_columns(path: Path) -> list[str]:
    """Return the columns of a table that are named like figures, and that no bound here is known for."""
    header, _ = _cells(path)
    read = _figure_columns(header, path)
    return [title for index, title in enumerate(header) if index not in read and _LIKE_A_FIGURE.search(title)]


def verdicts(rows: list[Row], *, ranks_may_tie: bool = False) -> dict[str, str]:
    """Return for each row, by name, why it cannot be true; an empty text where it can be.

    ``ranks_may_tie`` allows for ranks that are halves, which ours are where scores tie.
    """
    return {
        row.name: "; ".join(impossible(row.figures, digits=row.digits, whole_ranks=not ranks_may_tie))
        for row in rows
    }


def _cells(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header and the other lines with their numbers, cells without blanks around them."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: give the path of a CSV table of figures")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            table = [
                (reader.line_num, [" ".join(cell.split()) for cell in cells])
                for cells in reader
                if any(cell.strip() for cell in cells)
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path.name} cannot be read: it is no CSV file in UTF-8: {error}") from error
    if len(table) < 2:
        raise ValueError(f"{path.name}: no rows: a table is a header and a line for each system")
    return table[0][1], table[1:]


def _figure_columns(header: list[str], path: Path) -> dict[int, str]:
    """Return the columns that hold figures and the names they go by here."""
    columns = {}
    for index, title in enumerate(header):
        match = _FIGURE.fullmatch(title.replace(" ", ""))
        if match is not None:
            columns[index] = f"{_SPELLINGS[match[1].lower()]}@{match[2]}"
    if not columns:
        raise ValueError(
            f"{path.name}: no column of figures among {', '.join(header)[:200]!r}: name them HR@10, NDCG@10, "
            "MRR@10 or COV@10, separated by commas"
        )
    names = [*columns.values()]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{path.name}: column {twice} is there twice: drop one")
    return columns


def _is_text(cell: str) -> bool:
    return cell != "" and _NUMBER.fullmatch(cell) is None


def _figure(text: str, *, where: str) -> tuple[float, int]:
    """Return a printed number and how many digits stand behind its point."""
    match = _NUMBER.fullmatch(text)
    value = float(text) if match is not None else math.inf
    if match is None or not math.isfinite(value):
        raise ValueError(
            f"{where} is {text[:_MOST_SHOWN]!r}, which is no number: give a fraction such as 0.1855, or leave it empty"
        )
    exponent = int(match[4][1:]) if match[4] else 0
    return value, max(0, len(match[2] or match[3] or "") - exponent)


def _check_rows(rows: list[Row], path: Path) -> None:
    """Raise when two rows have one name, or when the figures are per cent."""
    names = set()
    for row in rows:
        if row.name in names:
            raise ValueError(
                f"{path.name}: {row.name!r} is there twice: tell the rows apart in a column of text, or drop one"
            )
        names.add(row.name)
    figures = [value for row in rows for value in row.figures.values()]
    if sum(value > 1 for value in figures) > len(figures) / 2 and max(figures) > 2:
        raise ValueError(
            f"{path.name}: the figures seem to be per cent (the largest is {max(figures):g}): divide them by 100"
        )
