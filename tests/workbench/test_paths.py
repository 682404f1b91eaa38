from pathlib import Path

import pytest

from workbench import paths


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    monkeypatch.delenv("DIFFSASREC_DATA", raising=False)
    monkeypatch.delenv("DIFFSASREC_CACHE", raising=False)


def test_the_root_is_the_folder_with_the_project_file():
    assert (paths.repository_root() / "pyproject.toml").is_file()


def test_everything_lies_in_the_repository_unless_told_otherwise():
    root = paths.repository_root()
    assert paths.data_dir() == root / "data" / "raw"
    assert paths.cache_dir() == root / "data" / "cache"
    assert paths.runs_dir() == root / "runs"


def test_the_environment_moves_raw_and_prepared_data(monkeypatch, tmp_path):
    monkeypatch.setenv("DIFFSASREC_DATA", str(tmp_path / "raw"))
    monkeypatch.setenv("DIFFSASREC_CACHE", "~/cache")
    assert paths.data_dir() == tmp_path / "raw"
    assert paths.cache_dir() == Path.home() / "cache"


def test_a_relative_folder_of_runs_becomes_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert paths.runs_dir("mine") == tmp_path / "mine"
    assert paths.runs_dir(tmp_path / "x") == tmp_path / "x"
