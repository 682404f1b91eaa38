import shutil

import pytest

from workbench.datasets.dataset import assemble
from workbench.datasets.recbole import read_inter


def test_atomic_files_are_read_with_titles_and_classes(raw):
    dataset = assemble("x", read_inter(raw.folder / "recbole" / "invented.inter"))
    assert dataset.items["item_id"].tolist() == [3, 7, 10]
    assert dataset.items["title"].tolist() == ['Café "au Lait", The', "Seven", "10"]
    assert dataset.items["categories"].tolist() == ["Comedy|Children's", "Drama", ""]
    data = dataset.interactions
    assert data.is_dated
    assert data.user_ids.tolist() == [1, 2]
    assert data.timestamps.tolist() == [978300700, 978300760, 978300760, 978302109, 978302110]
    assert dataset.titles(data.sequence(0)[0]) == ["Seven", "10", 'Café "au Lait", The']
    assert data.ratings.tolist() == [1.0, 4.0, 3.5, 5.0, 2.0]


def test_without_times_and_items_the_order_of_the_file_and_the_ids_are_all_there_is(tmp_path):
    path = tmp_path / "x.inter"
    path.write_text("item_id:token\tuser_id:token\nb\tu\na\tu\nb\tv\nb\tu\n")
    dataset = assemble("x", read_inter(path))
    assert not dataset.interactions.is_dated
    assert dataset.titles(dataset.interactions.sequence(0)[0]) == ["b", "a", "b"]
    assert dataset.interactions.timestamps.tolist() == [0, 1, 2, 0]


def test_names_between_commas_are_categories_too(tmp_path):
    (tmp_path / "x.inter").write_text("user_id:token\titem_id:token\n1\ta\n")
    (tmp_path / "x.item").write_text(
        "item_id:token\tname:token_seq\tgenre:token_seq\na\tAn A\tSlice of Life, Drama\n"
    )
    items = assemble("x", read_inter(tmp_path / "x.inter")).items
    assert items.to_dict("list") == {
        "item_id": ["a"],
        "title": ["An A"],
        "categories": ["Slice of Life|Drama"],
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("invented.inter", "user_id\titem_id\n1\t2\n", "invented.inter, line 1: 'user_id' is not name:type"),
        (
            "invented.inter",
            "user_id:token\titem:token\n1\t2\n",
            "column 'item_id' is missing .did you mean 'item'",
        ),
        ("invented.inter", "user_id:token\titem_id:token\n1\t2\t3\n", "line 2: 3 fields"),
        (
            "invented.inter",
            "user_id:token\titem_id:token\ttimestamp:float\n1\t2\tsoon\n",
            "line 2: timestamp:float 'soon' is no number",
        ),
        ("invented.item", "movie_title:token_seq\nx\n", "invented.item: column 'item_id' is missing"),
        ("invented.item", "item_id:token\tname:token_seq\n3\tx\n3\ty\n", "item 3 is described twice"),
    ],
)
def test_a_bad_atomic_file_is_named(tmp_path, raw, name, text, message):
    folder = shutil.copytree(raw.folder / "recbole", tmp_path / "raw")
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        assemble("x", read_inter(folder / "invented.inter"))
