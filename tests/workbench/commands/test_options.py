"""What is found under the options that commands share: a run, how it decodes, a place for a file."""

from __future__ import annotations

import dataclasses

import pytest

from workbench.commands.options import check_place, decode_config, run_named
from workbench.open_runs import default_decode_config, open_run


def test_a_run_is_looked_for_in_the_folder_of_the_option(trained, world, tmp_path):
    run = trained["diffsasrec"]
    assert run_named(run.key[:6], world.runs).id == run.id
    with pytest.raises(ValueError, match=f"{tmp_path} holds none"):
        run_named(run.id, tmp_path)


def test_settings_change_how_a_run_decodes_and_nothing_else(trained):
    opened = open_run(trained["diffsasrec"])
    usual = default_decode_config(opened.checkpoint.model)
    assert decode_config(opened, None) == usual
    assert decode_config(opened, ["num_slots=3", "rule=margin"]) == dataclasses.replace(
        usual, num_slots=3, rule="margin"
    )


def test_a_file_needs_a_folder_that_is_there(tmp_path):
    check_place(tmp_path / "replay.html")
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        check_place(tmp_path / "nowhere" / "replay.html")
