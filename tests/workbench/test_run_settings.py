"""What tells runs apart: settings, by the names that people give them."""

from __future__ import annotations

from tests.workbench.small_runs import make_run
from workbench.run_settings import flattened, told_apart


def run_with(folder, key, recipe="toy-sasrec", **settings):
    split = {"name": settings.pop("split", "leave_one_out")}
    config = {"dataset": "toy", "model": "sasrec", "model_config": settings, "split": split, "seed": int(key)}
    return make_run(folder, recipe, key, config=config)


def test_nested_entries_have_full_names():
    assert flattened({"a": {"b": {"c": 1}, "d": {}}, "e": 2}) == {"a.b.c": 1, "a.d": {}, "e": 2}


def test_runs_of_one_recipe_are_told_apart_by_what_differs_but_for_the_seed(tmp_path):
    one = run_with(tmp_path, "1", width=64, dropout=0.25, split="from_files")
    two = run_with(tmp_path, "2", width=64, dropout=0.30)
    other = run_with(tmp_path, "3", "toy-gru4rec", width=32, dropout=0.1)
    words = told_apart([one, two, other])
    assert words == {
        one.id: "dropout=0.25, split=from_files",
        two.id: "dropout=0.3, split=leave_one_out",
        other.id: "",
    }


def test_a_setting_that_older_code_did_not_know_tells_nobody_apart(tmp_path):
    old, new = run_with(tmp_path, "1", width=64), run_with(tmp_path, "2", width=64, ease_power=0.0)
    newer = run_with(tmp_path, "3", width=64, ease_power=0.5)
    assert set(told_apart([old, new]).values()) == {""}
    assert told_apart([old, new, newer]) == {old.id: "", new.id: "ease_power=0", newer.id: "ease_power=0.5"}


def test_many_differences_are_counted(tmp_path):
    names = "abcdefgh"
    one = run_with(tmp_path, "1", **dict.fromkeys(names, 1))
    two = run_with(tmp_path, "2", **dict.fromkeys(names, 2))
    assert told_apart([one, two])[two.id] == "a=2, b=2, c=2, d=2, e=2, f=2, 2 more"
