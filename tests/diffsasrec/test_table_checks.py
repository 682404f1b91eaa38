import numpy as np
import pandas as pd
import pytest

from diffsasrec.interactions import Interactions
from diffsasrec.table_checks import check_table

ROWS = [("u", "a", 1), ("v", "b", 2)]


def table_of(rows):
    return pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("timestamp", ["1", "soon", "3"], "row 2: timestamp 'soon' is not a number of seconds"),
        ("timestamp", [1, None, 3], "row 2: timestamp is missing"),
        ("timestamp", [1.0, 2.0, np.nan], "row 3: timestamp is missing"),
        ("timestamp", [1, 2, 2.5], "row 3: timestamp '2.5' is not a number"),
        ("timestamp", [1, -2, 3], "row 2: timestamp '-2' lies before 1970"),
        ("timestamp", [10**30, 1, 2], "row 1: timestamp '1000000000000000000000000000000' is not a number"),
        ("timestamp", [1.0, np.inf, 2.0], "row 2: timestamp 'inf'"),
        ("timestamp", [True, False, True], "true and false"),
        ("timestamp", pd.to_datetime(["2020-01-01", "1969-12-31", "2020-01-01"]), "row 2: timestamp '1969"),
        ("user_id", ["u", None, "v"], "row 2: user_id is missing"),
        ("item_id", [1, 2, None], "row 3: item_id is missing"),
        ("item_id", ["a", "", "b"], "row 2: item_id '' is missing"),
        ("item_id", ["a", 1, "b"], "'item_id' holds mixed-integer values"),
        ("item_id", [1.0, 2.0, 3.0], "'item_id' holds floating values"),
        ("user_id", ["a", "a\0", "b"], "row 2: user_id .* holds a NUL character"),
        ("item_id", ["a", "b" * 1001, "c"], "row 2: item_id 'bbb.* has more than 1000 characters"),
        ("rating", [1.0, 2.0, np.inf], "row 3: rating 'inf' is no finite number"),
        ("rating", ["1", "2", "good"], "row 3: rating 'good' is no finite number"),
        ("user_id", np.array([1, 2, 2**64 - 1], dtype=np.uint64), "row 3: user_id .* beyond 64 bits"),
    ],
)
def test_bad_values_are_named_with_row_value_and_fix(column, values, message):
    table = table_of([(1, 1, 1), (1, 2, 2), (2, 1, 3)]).assign(**{column: values})
    with pytest.raises(ValueError, match=f"ratings.csv: .*{message}"):
        check_table(table, source="ratings.csv")
    with pytest.raises(ValueError, match=message):
        Interactions.from_table(table)


def test_a_missing_column_is_named_with_the_nearest_one():
    with pytest.raises(ValueError, match="column 'item_id' is missing: did you mean 'itemId'"):
        check_table(table_of(ROWS).rename(columns={"item_id": "itemId"}))


def test_a_column_that_occurs_twice_is_named():
    table = table_of(ROWS)
    with pytest.raises(ValueError, match="'user_id' occurs 2 times"):
        check_table(pd.concat([table, table], axis=1))


def test_an_empty_table_is_refused():
    with pytest.raises(ValueError, match="no interactions"):
        check_table(table_of([]))


@pytest.mark.parametrize(
    "timestamps",
    [
        ["1577836800", "0"],
        [1577836800.0, 0.0],
        pd.array([1577836800, 0], dtype="Int64"),
        pd.to_datetime(["2020-01-01", "1970-01-01"]),
        pd.to_datetime(["2020-01-01", "1970-01-01"], utc=True),
        pd.to_datetime(["2020-01-01 01:00", "1970-01-01 01:00"]).tz_localize("Etc/GMT-1"),
    ],
)
def test_numbers_strings_of_digits_and_dates_are_seconds(timestamps):
    table = table_of([("u", "a", 0), ("v", "b", 0)]).assign(timestamp=timestamps)
    assert Interactions.from_table(table).timestamps.tolist() == [1577836800, 0]


def test_a_caller_may_say_where_a_row_stands():
    with pytest.raises(ValueError, match=r"^a.txt, line 12: timestamp '-1' lies before 1970"):
        check_table(table_of([("u", "a", 1), ("v", "b", -1)]), place=lambda row: f"a.txt, line {row + 11}")
