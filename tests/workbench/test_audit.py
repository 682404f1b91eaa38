"""An audit names every row that cannot be true, never one that can, and refuses what is no table of figures."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diffsasrec.metrics import PER_USER
from workbench import cli
from workbench.audit import read_figures, verdicts

PUBLISHED = Path(__file__).parents[2] / "results" / "published"


def table(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def why(folder: Path, text: str) -> dict[str, str]:
    return verdicts(read_figures(table(folder, text)))


@pytest.mark.parametrize(
    ("name", "impossible"),
    [
        (
            "published_diffsasrec.csv",
            {
                "ML-1M (poor split), SASRec top-K",
                "ML-1M (poor split), Diffusion top-K",
                "Amazon Beauty, Diffusion K-slot",
                "Netflix, Diffusion K-slot",
            },
        ),
        (
            "published_leave_one_out.csv",
            {
                "Beauty, DuoRec",
                "Beauty, MFGAN",
                "Beauty, SASRec",
                "Movielens-1M, ACVAE",
                "Toys, ACVAE",
                "Toys, BERT4Rec",
                "Toys, DuoRec",
                "Toys, MFGAN",
            },
        ),
    ],
)
def test_the_published_rows_that_cannot_be_true_are_these(name, impossible) -> None:
    found = verdicts(read_figures(PUBLISHED / name))
    assert {row for row, reason in found.items() if reason} == impossible


@pytest.mark.parametrize(
    ("header", "cells", "words"),
    [
        ("HR@10,NDCG@10", "0.1134,0.2445", "NDCG is above HR"),
        ("NDCG@10,MRR@10", "0.0420,0.0466", "MRR is above NDCG"),
        ("HR@10,MRR@10", "0.0420,0.0466", "MRR is above HR"),
        ("HR@10,NDCG@10", "0.5000,0.1443", "NDCG is below HR / log2(11)"),
        ("HR@10,MRR@10", "0.5000,0.0498", "MRR is below HR / 10"),
        ("HR@5,HR@10", "0.3000,0.2998", "HR@10 = 0.2998 is below HR@5"),
        ("NDCG@5,NDCG@20", "0.3000,0.2998", "NDCG@20 = 0.2998 is below NDCG@5"),
        ("MRR@1,MRR@10", "0.3000,0.2998", "MRR@10 = 0.2998 is below MRR@1"),
        ("COV@5,COV@10", "0.3000,0.2998", "COV@10 = 0.2998 is below COV@5"),
        ("HR@5,HR@10,NDCG@5,NDCG@10", "0.2500,0.5000,0.1875,0.2595", "NDCG grows by 0.072"),
        ("HR@5,HR@10,NDCG@5,NDCG@10", "0.2500,0.5000,0.1875,0.2769", "NDCG grows by 0.0894"),
        ("HR@10,NDCG@10", "1.2000,0.5000", "not between 0 and 1"),
        ("HR@10,NDCG@10", "0.5000,-0.1000", "not between 0 and 1"),
        ("HR@10,COV@10", "0.5000,1.5000", "not between 0 and 1"),
    ],
)
def test_each_bound_has_a_row_that_breaks_it_by_a_hair(tmp_path, header, cells, words) -> None:
    found = why(tmp_path, f"system,{header}\na,{cells}\n")
    assert words in found["a"]


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("HR@10,NDCG@10", "0.1134,0.1135"),
        ("HR@10,NDCG@10", "0.5000,0.1445"),
        ("HR@10,NDCG@10", "0.50000,0.14453"),
        ("HR@10,MRR@10", "0.5000,0.0500"),
        ("HR@5,HR@10", "0.3000,0.2999"),
        ("HR@10,COV@10", "0.5,1.0000"),
        ("HR@5,HR@10,NDCG@5,NDCG@10", "0.2500,0.5000,0.1875,0.2597"),
        ("HR@5,HR@10,NDCG@5,NDCG@10", "0.2500,0.5000,0.1875,0.2766"),
    ],
)
def test_half_a_unit_of_the_last_digit_is_allowed_on_each_figure(tmp_path, header, cells) -> None:
    assert why(tmp_path, f"system,{header}\na,{cells}\n") == {"a": ""}


def test_a_row_has_the_digits_of_the_figure_that_shows_the_most(tmp_path) -> None:
    """A dropped zero is no licence: .1 beside .0287 is .1000. Other rows and coverage say nothing of it."""
    found = why(
        tmp_path,
        "system,HR@10,NDCG@10,COV@10\ndropped,0.1,0.0287,\nrounded,0.1,0.2,0.1985\nfine,0.1100,0.0600,\n",
    )
    assert "below HR / log2(11)" in found["dropped"]
    assert found["rounded"] == found["fine"] == ""


def test_exponents_and_missing_figures_are_read(tmp_path) -> None:
    rows = read_figures(table(tmp_path, "system,HR@10,mrr@10,Coverage@10\na,2.5e-3,,\nb,.3,1E-1,1\n"))
    assert [row.figures for row in rows] == [
        {"HR@10": 0.0025},
        {"HR@10": 0.3, "MRR@10": 0.1, "Coverage@10": 1.0},
    ]
    assert [row.digits for row in rows] == [4, 1]


def test_text_columns_are_the_name_and_other_numbers_are_left_alone(tmp_path) -> None:
    text = '\ufeffdata,seed,system,HR@10,loss\r\nToys,0,"a, tuned",0.5,6.1\r\nBeauty,1,b,0.4,\r\n'
    assert [row.name for row in read_figures(table(tmp_path, text))] == ["Toys, a, tuned", "Beauty, b"]
    assert [row.name for row in read_figures(table(tmp_path, "HR@5\n0.1\n0.2\n"))] == ["line 2", "line 3"]


def test_ranks_that_tie_widen_the_bound_on_growth(tmp_path) -> None:
    """Everybody at rank 1.5: HR@1 0, HR@5 1, NDCG@5 1 / log2(2.5)."""
    rows = read_figures(table(tmp_path, "system,HR@1,NDCG@1,HR@5,NDCG@5\na,0,0,1,0.7565\n"))
    assert verdicts(rows)["a"] != ""
    assert verdicts(rows, ranks_may_tie=True) == {"a": ""}


def _without_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


@given(
    ranks=st.lists(st.integers(1, 40), min_size=1, max_size=40),
    digits=st.integers(0, 6),
    drop_zeros=st.booleans(),
)
@example(
    ranks=[1, 2], digits=0, drop_zeros=True
)  # 1 is not to become 1.0, which shows a digit that it has not
@settings(max_examples=150, deadline=None)
def test_figures_of_real_ranks_are_never_named(tmp_path_factory, ranks, digits, drop_zeros) -> None:
    rank = np.array(ranks, dtype=float)
    printed = {
        f"{name}@{k}": f"{figure(rank, k).mean():.{digits}f}"
        for k in (1, 5, 10, 20)
        for name, figure in PER_USER.items()
    }
    # a program that drops zeros would make 0.0100 a 0.01; one figure at least keeps its digits in a real table
    kept = list(printed)[-1]
    if drop_zeros and not printed[kept].endswith("0"):
        printed = {name: text if name == kept else _without_zeros(text) for name, text in printed.items()}
    path = tmp_path_factory.mktemp("audit") / "table.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([["system", *printed], ["ours", *printed.values()]])
    assert verdicts(read_figures(path)) == {"ours": ""}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no rows"),
        ("system,HR@10\n", "no rows"),
        ("system,hits\na,0.1\n", "no column of figures among 'system, hits'"),
        ("system;HR@10\na;0,1\n", "separated by commas"),
        ("system,HR@10,hr@10\na,0.1,0.2\n", "HR@10 is there twice"),
        ("system,HR@10\na,0.1\na,0.2\n", "'a' is there twice"),
        ("system,HR@10\na,0.1,0.2\n", "line 2 has 3 cells, the header 2"),
        ("system,HR@10\na,high\n", "line 2: HR@10 is 'high', which is no number"),
        ("system,HR@10\na,12.3%\n", "no number"),
        ('system,HR@10\na,"0,123"\n', "no number"),
        ("system,HR@10\na,nan\n", "no number"),
        ("system,HR@10\na,1e999\n", "no number"),
        ("system,HR@10,MRR@10\na,,\n", "has no figure"),
        ("system,HR@10,NDCG@10\na,32.07,18.58\nb,0.5,0.1\nc,9.7,5.9\n", "per cent"),
        ('system,HR@10\n"a,0.1\n', "no CSV file"),
        ("system,HR@0\na,0.1\n", "no column of figures"),
    ],
)
def test_what_is_no_table_of_figures_is_one_sentence(tmp_path, text, words) -> None:
    with pytest.raises(ValueError, match=r"table\.csv") as raised:
        read_figures(table(tmp_path, text))
    assert words in str(raised.value)


def test_bytes_that_are_no_text_and_files_that_are_not_there_are_told(tmp_path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"system,HR@10\n\xff\xfe,0.1\n")
    with pytest.raises(ValueError, match="UTF-8"):
        read_figures(path)
    with pytest.raises(FileNotFoundError, match="no file"):
        read_figures(tmp_path)


@pytest.mark.parametrize(
    ("text", "status", "out"),
    [
        (
            "system,HR@10,NDCG@10\na,0.10,0.20\nb,0.20,0.10\n",
            1,
            "a: NDCG is above HR: NDCG@10 = 0.2, HR@10 = 0.1\n",
        ),
        ("system,HR@10,NDCG@10\nb,0.2,0.1\n", 0, "every row of table.csv can be true (1 read)\n"),
        ("system,HR@10\nb,much\n", 2, ""),
    ],
)
def test_the_command_prints_a_line_per_impossible_row(
    tmp_path, capsys, monkeypatch, text, status, out
) -> None:
    monkeypatch.setattr("sys.argv", ["workbench", "audit", str(table(tmp_path, text))])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == status
    assert capsys.readouterr().out == out


@pytest.mark.parametrize("other", ["Hit@10", "HR@10 (%)", "HR@0", "Recall @10"])
def test_a_column_named_like_a_figure_that_is_not_checked_is_told(
    tmp_path, capsys, monkeypatch, other
) -> None:
    path = table(tmp_path, f"system,{other},NDCG@10,seconds\na,0.1,0.5,3\n")
    monkeypatch.setattr("sys.argv", ["workbench", "audit", str(path)])
    with pytest.raises(SystemExit):
        cli.main()
    printed = capsys.readouterr()
    assert f"not checked: {other}: bounds are known of HR@K" in printed.err
    assert "can be true (1 read)" in printed.out


def test_a_line_of_blanks_is_no_row(tmp_path) -> None:
    assert why(tmp_path, "system,HR@10\na,0.1\n  \nb,0.2\n") == {"a": "", "b": ""}
