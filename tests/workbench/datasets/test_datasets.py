import socket

import pandas as pd
import pytest
import torch

from workbench.datasets import DATASETS, open_dataset, oracle_for, prepare
from workbench.datasets.prepared import list_prepared, save_prepared
from workbench.datasets.toy import ToyConfig, ToyOracle

CSV = "UserId,ProductId,Timestamp\n1,a,5\n1,b,6\n2,a,7\n"
COLUMNS = {"user_col": "UserId", "item_col": "ProductId", "time_col": "Timestamp"}


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Raw and prepared data of a test lie in its own folder."""
    monkeypatch.setenv("DIFFSASREC_DATA", str(tmp_path / "raw"))
    monkeypatch.setenv("DIFFSASREC_CACHE", str(tmp_path / "cache"))
    return tmp_path


def unreachable():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/ml-1m.zip"


def test_the_toy_world_is_made_on_first_use_and_then_opened(places):
    first = open_dataset("toy")
    assert list_prepared(places / "cache") == ["toy"]
    assert (first.interactions.num_users, first.interactions.num_items) == (2000, 304)
    again = open_dataset("toy")
    assert again.fingerprint == first.fingerprint
    assert again.title(1) == first.title(1)


def test_the_oracle_belongs_to_the_toy_world_alone(places, raw):
    dataset = open_dataset("toy")
    oracle = oracle_for(dataset)
    assert isinstance(oracle, ToyOracle)
    assert oracle.config == ToyConfig()
    tokens = torch.from_numpy(dataset.interactions.sequence(0)[0].astype("int64"))[None]
    assert oracle.next_item_logits(tokens).shape == (1, dataset.interactions.num_items)
    raw.write(places / "raw" / "ml-1m", raw.ml_1m)
    assert oracle_for(open_dataset("ml-1m")) is None


def test_a_world_of_another_process_is_drawn_anew(places):
    dataset = open_dataset("toy")
    dataset.facts["toy_config"]["genre_prior"] = 2.0
    save_prepared(dataset, places / "cache", version=DATASETS["toy"].version)
    assert open_dataset("toy").facts["toy_config"]["genre_prior"] == ToyConfig().genre_prior


def test_raw_files_that_are_there_are_prepared_on_first_use(places, raw):
    folder = raw.write(places / "raw" / "ml-1m", raw.ml_1m)
    dataset = open_dataset("ml-1m")
    assert dataset.title(1) == "Café au Lait (1993)"
    for file in folder.iterdir():
        file.unlink()
    assert open_dataset("ml-1m").fingerprint == dataset.fingerprint
    assert sorted(path.name for path in (places / "raw").rglob("*")) == ["ml-1m"], "nothing is written to raw"


def test_from_a_folder_is_read_there_and_nowhere_else(places, raw):
    folder = raw.write(places / "elsewhere", raw.ml_100k)
    assert prepare("ml-100k", from_dir=folder).interactions.num_users == 2
    assert not (places / "raw").exists()
    with pytest.raises(
        FileNotFoundError, match=r"no ratings.dat in .*elsewhere: ml-1m is read from ratings.dat, mov"
    ):
        prepare("ml-1m", from_dir=folder)


def test_prepare_downloads_what_is_not_there_and_keeps_it(places, raw, server):
    address = server("ml-1m.zip", raw.zip_of(raw.ml_1m))
    dataset = prepare("ml-1m", address=address)
    assert dataset.interactions.num_interactions == 12
    assert (places / "raw" / "ml-1m" / "ratings.dat").is_file()
    assert prepare("ml-1m", address=unreachable()).fingerprint == dataset.fingerprint


def test_without_network_and_without_files_it_says_which_file_to_put_where(places):
    with pytest.raises(FileNotFoundError) as caught:
        prepare("ml-1m", address=unreachable())
    message = str(caught.value)
    assert "could not be downloaded" in message
    assert "https://files.grouplens.org/datasets/movielens/ml-1m.zip" in message
    assert f"ratings.dat is not in {places / 'raw' / 'ml-1m'}" in message
    assert "--from FOLDER" in message


def test_opening_never_downloads():
    with pytest.raises(
        FileNotFoundError,
        match=r"ml-100k is not prepared, and u.data is not in .*: run `workbench prepare ml-100k`",
    ):
        open_dataset("ml-100k")


def test_a_damaged_download_leaves_no_data(places, raw, server):
    with pytest.raises(ValueError, match="MD5"):
        prepare("ml-1m", address=server("ml-1m.zip", raw.zip_of(raw.ml_1m), "0" * 32))
    assert list((places / "raw").iterdir()) == []
    assert list_prepared(places / "cache") == []


def test_bad_raw_files_leave_the_prepared_data_untouched(places, raw):
    folder = raw.write(places / "raw" / "ml-1m", raw.ml_1m)
    good = prepare("ml-1m")
    (folder / "ratings.dat").write_text("1::2::3::soon\n")
    with pytest.raises(ValueError, match="timestamp 'soon'"):
        prepare("ml-1m")
    with pytest.warns(UserWarning, match=r"ratings.dat changed after ml-1m was prepared"):
        assert open_dataset("ml-1m").fingerprint == good.fingerprint


@pytest.mark.parametrize("call", [open_dataset, prepare])
@pytest.mark.parametrize(("name", "close"), [("ml1m", "ml-1m"), ("toys", "toy"), ("ml-10k", "ml-100k")])
def test_an_unknown_name_comes_with_the_nearest(call, name, close):
    with pytest.raises(ValueError, match=f"unknown data set '{name}': did you mean '{close}'"):
        call(name)


@pytest.mark.parametrize("name", ["../toy", "/etc", "", ".", "a/b", "x" * 200, "toy\0"])
def test_a_name_is_never_a_path(name):
    with pytest.raises(ValueError, match="unknown data set"):
        open_dataset(name)


def test_a_table_is_known_by_the_stem_of_its_file(places):
    (places / "shop.csv").write_text(CSV)
    dataset = prepare(str(places / "shop.csv"), **COLUMNS)
    assert dataset.name == "shop"
    opened = open_dataset("shop")
    assert opened.fingerprint == dataset.fingerprint
    assert opened.titles([1, 2]) == ["a", "b"]
    with pytest.raises(ValueError, match="did you mean 'shop'"):
        open_dataset("shopp")


def test_a_table_gets_the_name_it_is_given(places):
    pd.DataFrame({"UserId": [1], "ProductId": [2], "Timestamp": [3]}).to_parquet(places / "x.parquet")
    assert prepare("mine", from_dir=places / "x.parquet", **COLUMNS).name == "mine"
    assert open_dataset("mine").interactions.num_interactions == 1


def test_names_that_are_taken_or_no_names_are_refused(places):
    (places / "toy.csv").write_text(CSV)
    (places / "a b.csv").write_text(CSV)
    with pytest.raises(ValueError, match="the name 'toy' is taken"):
        prepare(str(places / "toy.csv"), **COLUMNS)
    with pytest.raises(ValueError, match="'a b' cannot be a name"):
        prepare(str(places / "a b.csv"), **COLUMNS)
    with pytest.raises(ValueError, match="cannot be a name"):
        prepare("../evil", from_dir=places / "toy.csv", **COLUMNS)
    with pytest.raises(FileNotFoundError, match=r"no file .*nothing.csv"):
        prepare("nothing.csv")


def test_options_without_effect_warn(places, raw):
    folder = raw.write(places / "raw" / "ml-1m", raw.ml_1m)
    with pytest.warns(UserWarning, match="user_col has no effect on ml-1m"):
        prepare("ml-1m", user_col="UserId")
    with pytest.warns(UserWarning, match="from_dir has no effect on toy"):
        prepare("toy", from_dir=folder)


def test_every_adapter_says_where_its_data_come_from_and_under_which_licence():
    for name, adapter in DATASETS.items():
        assert adapter.name == name
        assert adapter.licence
        assert bool(adapter.files) == bool(adapter.address)
