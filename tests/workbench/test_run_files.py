"""The files of a run: JSON that is whole or named, links that lead out, a lock that one process holds."""

from __future__ import annotations

import fcntl

import pytest

from workbench.run_files import RunError, locked, own_path, read_json, write_json


def test_json_is_read_as_it_was_written(tmp_path):
    content = {"name": "Œuvre", "figures": [0.5, None, True]}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("metrics.json", "; evaluate the run again"),
        ("manifest.json", "; give the command that made the run again"),
        ("other.json", "or is no file of a run"),
    ],
)
def test_a_broken_file_is_named_with_what_brings_it_back(tmp_path, name, remedy):
    (tmp_path / name).write_text('{"format": ')
    with pytest.raises(RunError, match=rf"{name} is no JSON .*{remedy}$"):
        read_json(tmp_path / name)


def test_a_number_that_json_cannot_hold_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", {"HR@10": 0.5})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"HR@10": float("nan")})
    assert read_json(tmp_path / "a.json") == {"HR@10": 0.5}


def test_a_link_may_lead_to_another_run_but_not_out_of_the_runs_folder(tmp_path):
    folder = tmp_path / "runs" / "toy-sasrec" / "0123"
    other = folder.with_name("4567")
    for each in (folder, other):
        each.mkdir(parents=True)
    (folder / "best").symlink_to(other)
    assert own_path(folder, "best") == folder / "best"
    (folder / "last").symlink_to(tmp_path)
    with pytest.raises(RunError, match=r"last leads out of the runs folder .*runs: it is not opened"):
        own_path(folder, "last")


def test_a_lock_is_held_by_one_at_a_time_and_ends_with_its_block(tmp_path):
    wish = fcntl.LOCK_EX | fcntl.LOCK_NB
    with locked(tmp_path / ".lock", wish), pytest.raises(BlockingIOError), locked(tmp_path / ".lock", wish):
        pass
    with locked(tmp_path / ".lock", wish):
        pass
