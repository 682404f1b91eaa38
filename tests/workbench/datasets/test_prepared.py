import json
import os
import pickle

import numpy as np
import pandas as pd
import pytest

from diffsasrec.files import WriteError
from workbench.datasets.dataset import Raw, assemble
from workbench.datasets.prepared import list_prepared, load_prepared, save_prepared


def dataset_of(items=("b", "a", "ü"), name="tiny"):
    rows = [("u" + str(place % 2), item, place) for place, item in enumerate(items)]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"])
    titles = pd.DataFrame(
        {"item_id": list(items), "title": [f"<b>{item}</b>" for item in items], "categories": ""}
    )
    return assemble(
        name, Raw(table, titles.assign(year=pd.array([1999, None, 2001], dtype="Int64")), {"notes": ["ü"]})
    )


def same(first, second):
    assert (first.name, first.fingerprint, first.facts) == (second.name, second.fingerprint, second.facts)
    pd.testing.assert_frame_equal(first.items, second.items)
    for name in ("user_ids", "offsets", "tokens", "timestamps"):
        assert np.array_equal(getattr(first.interactions, name), getattr(second.interactions, name))
    assert first.interactions.vocabulary == second.interactions.vocabulary


def test_what_is_written_is_what_is_read(tmp_path):
    dataset = dataset_of()
    same(save_prepared(dataset, tmp_path, version=3), dataset)
    same(load_prepared("tiny", tmp_path), dataset)
    same(load_prepared("tiny", tmp_path, version=3), dataset)
    assert list_prepared(tmp_path) == ["tiny"]


def test_arrays_are_memory_maps(tmp_path):
    opened = save_prepared(dataset_of(), tmp_path, version=1)
    assert isinstance(opened.interactions.tokens, np.memmap)
    assert isinstance(opened.interactions.timestamps, np.memmap)
    assert not opened.interactions.tokens.flags.writeable


def test_nothing_prepared_or_another_version_is_none(tmp_path):
    assert load_prepared("tiny", tmp_path) is None
    assert list_prepared(tmp_path / "nowhere") == []
    save_prepared(dataset_of(), tmp_path, version=1)
    assert load_prepared("tiny", tmp_path, version=2) is None


def test_preparing_again_leaves_open_maps_alone_and_nothing_beside(tmp_path):
    opened = save_prepared(dataset_of(), tmp_path, version=1)
    before = opened.interactions.tokens.tolist()
    other = save_prepared(dataset_of(("x", "y", "z")), tmp_path, version=1)
    again = save_prepared(dataset_of(), tmp_path, version=1)
    assert opened.interactions.tokens.tolist() == before
    same(load_prepared("tiny", tmp_path), again)
    assert sorted(path.name for path in (tmp_path / "tiny").iterdir()) == sorted(
        ["current.json", opened.fingerprint, other.fingerprint]
    )


def test_a_failed_write_leaves_the_old_data(tmp_path, monkeypatch):
    first = save_prepared(dataset_of(), tmp_path, version=1)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(
        WriteError, match=r"tiny could not be written: No space left on device.*DIFFSASREC_CACHE"
    ):
        save_prepared(dataset_of(("x", "y", "z")), tmp_path, version=1)
    same(load_prepared("tiny", tmp_path), first)
    assert len(list((tmp_path / "tiny").iterdir())) == 2


def test_a_cache_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="could not be written: Not a directory"):
        save_prepared(dataset_of(), tmp_path / "file", version=1)


def test_data_that_is_there_already_is_not_moved_under_its_readers(tmp_path):
    opened = save_prepared(dataset_of(), tmp_path, version=1)
    place = tmp_path / "tiny" / opened.fingerprint
    before = place.stat().st_ino
    save_prepared(dataset_of(), tmp_path, version=1)
    assert place.stat().st_ino == before
    (place / "dataset.json").write_bytes(b"")
    save_prepared(dataset_of(), tmp_path, version=1)
    same(load_prepared("tiny", tmp_path), opened)


def test_what_a_killed_process_left_is_cleared_away(tmp_path):
    (tmp_path / "tiny" / ".writing-0123").mkdir(parents=True)
    opened = save_prepared(dataset_of(), tmp_path, version=1)
    assert {path.name for path in (tmp_path / "tiny").iterdir()} == {"current.json", opened.fingerprint}


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("harm", [truncate, zeros, os.remove])
@pytest.mark.parametrize(
    "name", ["tokens.npy", "offsets.npy", "item_ids.npy", "items.parquet", "dataset.json"]
)
def test_harmed_data_is_named_and_can_be_prepared_again(tmp_path, name, harm):
    dataset = dataset_of()
    save_prepared(dataset, tmp_path, version=1)
    harm(tmp_path / "tiny" / dataset.fingerprint / name)
    with pytest.raises(
        ValueError, match=r"prepared data of 'tiny' in .* cannot be read .*: prepare it again"
    ):
        load_prepared("tiny", tmp_path)
    same(save_prepared(dataset, tmp_path, version=1), dataset)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": 1, "version": 1, "fingerprint": "../../../../etc"}']
)
def test_a_harmed_pointer_opens_nothing(tmp_path, content):
    save_prepared(dataset_of(), tmp_path, version=1)
    (tmp_path / "tiny" / "current.json").write_text(content)
    with pytest.raises(ValueError, match="cannot be read"):
        load_prepared("tiny", tmp_path)


def test_a_newer_format_is_not_taken_for_ours(tmp_path):
    save_prepared(dataset_of(), tmp_path, version=1)
    pointer = tmp_path / "tiny" / "current.json"
    pointer.write_text(json.dumps(json.loads(pointer.read_text()) | {"format": 2}))
    assert load_prepared("tiny", tmp_path) is None


def test_nothing_is_unpickled(tmp_path):
    dataset = dataset_of()
    save_prepared(dataset, tmp_path, version=1)
    place = tmp_path / "tiny" / dataset.fingerprint / "user_ids.npy"
    np.save(place, np.array([{"a": 1}, {"b": 2}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="cannot be read"):
        load_prepared("tiny", tmp_path)
    place.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match="cannot be read"):
        load_prepared("tiny", tmp_path)
