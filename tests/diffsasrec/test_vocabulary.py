"""Item ids and tokens: the layout 0 = PAD, 1..N items, N + 1 = MASK, and columns one below tokens."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffsasrec.vocabulary import PAD_ID, Vocabulary

IDS = np.array([40, 7, 900, 7, 13])  # ascending and unique: 7, 13, 40, 900


def test_items_become_tokens_one_to_n_in_ascending_order_of_their_ids() -> None:
    vocabulary = Vocabulary.from_items(IDS)
    assert vocabulary.item_ids.tolist() == [7, 13, 40, 900]
    assert vocabulary.encode([900, 7, 40, 13]).tolist() == [4, 1, 3, 2]


def test_pad_is_token_zero_and_mask_is_one_beyond_the_last_item() -> None:
    vocabulary = Vocabulary.from_items(IDS)
    assert PAD_ID == 0
    assert (vocabulary.pad_id, vocabulary.num_items, vocabulary.mask_id, vocabulary.num_tokens) == (
        0,
        4,
        5,
        6,
    )
    assert Vocabulary.mask_id_of(4) == 5


def test_tokens_are_int64() -> None:
    assert Vocabulary.from_items(IDS).encode([7]).dtype == np.int64


def test_strings_sort_as_strings_and_come_back_as_strings() -> None:
    vocabulary = Vocabulary.from_items(["b", "10", "9", "b"])
    assert vocabulary.encode(["10", "9", "b"]).tolist() == [1, 2, 3]
    assert vocabulary.decode([3, 1]).tolist() == ["b", "10"]


def test_a_longer_unknown_string_is_not_cut_to_a_known_one() -> None:
    with pytest.raises(ValueError, match="abc"):
        Vocabulary.from_items(["ab", "xy"]).encode(["abc"])


def test_shapes_are_kept_both_ways() -> None:
    vocabulary = Vocabulary.from_items(IDS)
    tokens = np.array([[1, 2], [4, 3]])
    assert vocabulary.decode(tokens).tolist() == [[7, 13], [900, 40]]
    assert vocabulary.encode(vocabulary.decode(tokens)).tolist() == tokens.tolist()


@given(ids=st.sets(st.integers(-(2**62), 2**62), min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
def test_decode_is_the_inverse_of_encode(ids: set[int]) -> None:
    vocabulary = Vocabulary.from_items(list(ids))
    assert vocabulary.decode(vocabulary.encode(list(ids))).tolist() == list(ids)
    assert sorted(vocabulary.encode(list(ids)).tolist()) == list(range(1, len(ids) + 1))


@pytest.mark.parametrize("unknown", [8, -1, 10**12], ids=["between", "below", "above"])
def test_an_unknown_id_is_named(unknown: int) -> None:
    with pytest.raises(ValueError, match=str(unknown)):
        Vocabulary.from_items(IDS).encode([7, unknown])


def test_an_unknown_string_is_named_with_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"matrx.*matrix"):
        Vocabulary.from_items(["alien", "matrix"]).encode(["matrx"])


def test_integers_are_not_looked_up_in_a_catalogue_of_strings() -> None:
    with pytest.raises(ValueError, match=r"str|type|int"):
        Vocabulary.from_items(["1", "2"]).encode([1])
    with pytest.raises(ValueError, match=r"str|type|int|<U"):
        Vocabulary.from_items([1, 2]).encode(["1"])


@pytest.mark.parametrize("token", [0, 5, 6, -1], ids=["PAD", "MASK", "beyond", "negative"])
def test_decode_refuses_what_is_no_item(token: int) -> None:
    with pytest.raises(ValueError, match=str(token)):
        Vocabulary.from_items(IDS).decode([1, token])


@pytest.mark.parametrize(
    "make", [int, lambda x: np.array([x]), lambda x: torch.tensor([x])], ids=["int", "numpy", "torch"]
)
def test_the_column_of_a_token_is_one_less(make) -> None:
    column = Vocabulary.to_column(make(3))
    assert np.asarray(column).item() == 2
    assert np.asarray(Vocabulary.to_token(column)).item() == 3
    assert type(column) is type(make(3))


def test_a_vocabulary_needs_an_item() -> None:
    with pytest.raises(ValueError, match=r"at least one|empty|none"):
        Vocabulary.from_items(np.array([], dtype=np.int64))


@pytest.mark.parametrize("ids", [[2, 1], [1, 1]], ids=["descending", "repeated"])
def test_ids_that_are_not_ascending_and_unique_are_refused(ids: list[int]) -> None:
    with pytest.raises(ValueError, match="ascending"):
        Vocabulary(np.array(ids))


def test_mixed_ids_are_refused_rather_than_turned_into_strings() -> None:
    with pytest.raises(ValueError, match="integers or all strings"):
        Vocabulary.from_items(np.array([1, "a"], dtype=object))


@pytest.mark.parametrize("ids", [[3, 1, 2], ["é", "a b", '"quoted"'], [2**62, -5]])
def test_save_and_load_give_the_same_vocabulary(tmp_path, ids: list) -> None:
    vocabulary = Vocabulary.from_items(ids)
    vocabulary.save(tmp_path / "vocabulary.json")
    loaded = Vocabulary.load(tmp_path / "vocabulary.json")
    assert loaded == vocabulary
    assert loaded.fingerprint() == vocabulary.fingerprint()
    assert loaded.encode(ids).tolist() == vocabulary.encode(ids).tolist()


def test_the_saved_file_is_json_with_a_format(tmp_path) -> None:
    Vocabulary.from_items([5, 3]).save(tmp_path / "v.json")
    content = json.loads((tmp_path / "v.json").read_text(encoding="utf-8"))
    assert content["format"] == 1
    assert content["item_ids"] == [3, 5]


def test_equality_and_fingerprint_are_by_content() -> None:
    one, same = Vocabulary.from_items([1, 2, 3]), Vocabulary.from_items([3, 2, 1])
    assert one == same
    assert one.fingerprint() == same.fingerprint()
    assert len(one.fingerprint()) == 16
    int(one.fingerprint(), 16)


@pytest.mark.parametrize("other", [[1, 2, 4], [1, 2], [1, 2, 3, 4], ["1", "2", "3"], ["123"]])
def test_another_catalogue_is_not_equal_and_has_another_fingerprint(other: list) -> None:
    one, another = Vocabulary.from_items([1, 2, 3]), Vocabulary.from_items(other)
    assert one != another
    assert one.fingerprint() != another.fingerprint()
    assert one != "something else"


def test_a_vocabulary_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Vocabulary.from_items([1]).item_ids = np.array([2])  # type: ignore[misc]
