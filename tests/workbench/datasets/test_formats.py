import re
import shutil

import pytest

from workbench.datasets import open_dataset, prepare
from workbench.datasets.formats import FORMATS, is_recognised, recognise


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Raw and prepared data of a test lie in its own folder."""
    monkeypatch.setenv("DIFFSASREC_DATA", str(tmp_path / "raw"))
    monkeypatch.setenv("DIFFSASREC_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_every_form_has_a_sample_and_every_sample_a_form(raw):
    assert {path.name for path in raw.folder.iterdir()} == set(FORMATS)


@pytest.mark.parametrize("name", FORMATS)
def test_a_sample_is_recognised_by_its_files_alone_and_prepared_under_any_name(name, raw):
    form, main = recognise(raw.folder / name)
    assert form.name == name
    assert is_recognised(main)
    by_folder = prepare("mine", from_dir=raw.folder / name)
    assert by_folder.facts["format"] == name
    assert prepare("again", from_dir=main).fingerprint == by_folder.fingerprint
    assert prepare("said", from_dir=raw.folder / name, form=name).fingerprint == by_folder.fingerprint
    assert open_dataset("mine").fingerprint == by_folder.fingerprint


def test_a_folder_of_no_known_form_is_answered_with_what_is_there_and_what_could_be(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(
        ValueError, match=r"mine holds nothing of a known form, but no file; known: .*ratings.csv"
    ):
        prepare("mine", from_dir=tmp_path / "mine")
    for place in range(10):
        (tmp_path / "mine" / f"{place}.pdf").touch()
    with pytest.raises(ValueError, match=r"but 0.pdf, 1.pdf, .* 7.pdf and 2 more; known"):
        recognise(tmp_path / "mine")
    with pytest.raises(ValueError, match=r"holds nothing of the form movielens-csv, but 0.pdf"):
        recognise(tmp_path / "mine", name="movielens-csv")


def test_a_folder_with_two_data_sets_asks_for_the_file(tmp_path, raw):
    for name in ("movielens-csv", "movielens-dat"):
        shutil.copytree(raw.folder / name, tmp_path / "both", dirs_exist_ok=True)
    words = "holds more than one data set: ratings.csv (movielens-csv), ratings.dat (movielens-dat); name the file"
    with pytest.raises(ValueError, match=re.escape(words)):
        prepare("mine", from_dir=tmp_path / "both")
    assert prepare("mine", from_dir=tmp_path / "both" / "ratings.csv").facts["format"] == "movielens-csv"
    assert (
        prepare("mine", from_dir=tmp_path / "both", form="movielens-dat").facts["format"] == "movielens-dat"
    )


def test_a_form_or_place_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="unknown format 'movielens': did you mean 'movielens"):
        prepare("mine", from_dir=tmp_path, form="movielens")
    with pytest.raises(FileNotFoundError, match=r"no folder or file .*nowhere"):
        prepare("mine", from_dir=tmp_path / "nowhere")


def test_a_table_is_a_table_where_its_columns_are_named(tmp_path, raw):
    folder = shutil.copytree(raw.folder / "movielens-csv", tmp_path / "both")
    columns = {"user_col": "userId", "item_col": "movieId", "time_col": "timestamp"}
    assert prepare("mine", from_dir=folder / "ratings.csv", **columns).title(1) == "7"
    with pytest.warns(UserWarning, match="user_col has no effect on ratings.csv: its form is movielens-csv"):
        prepare("mine", from_dir=folder, user_col="userId")
