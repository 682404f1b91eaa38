import pytest

from workbench.datasets.dataset import assemble
from workbench.datasets.formats import recognise
from workbench.datasets.text_lists import read_text_list


def test_lines_are_in_the_order_of_time(raw):
    dataset = assemble("x", read_text_list(raw.folder / "text-list" / "invented.txt"))
    data = dataset.interactions
    assert not data.is_dated
    assert data.user_ids.tolist() == [1, 2, 4]
    assert [dataset.titles(data.sequence(row)[0]) for row in range(3)] == [
        ["2", "1", "2"],
        ["3", "1"],
        ["2", "5"],
    ]
    assert data.timestamps.tolist() == [0, 1, 2, 0, 1, 0, 1]
    assert "first_day" not in dataset.facts


@pytest.mark.parametrize("text", ["1\t2\n1\t1\n", "1 2\r\n1 1\r\n", "\ufeff1 2\n1 1\n"])
def test_tabs_windows_lines_and_a_byte_order_mark_change_nothing(tmp_path, text):
    (tmp_path / "x.txt").write_bytes(text.encode())
    (tmp_path / "README.txt").write_text("These are lists\n")
    form, main = recognise(tmp_path)
    assert form.name == "text-list"
    assert assemble("x", form.read(main)).titles([1, 2]) == ["1", "2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.txt: no rows"),
        ("1 2\n1 2 3\n", "x.txt, line 2: 3 fields in '1 2 3', expected 2"),
        ("1 2\n1\n", "x.txt, line 2: 1 fields"),
        ("1 2\n1 \n", "x.txt, line 2: item_id '' is missing"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, message):
    (tmp_path / "x.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        assemble("x", read_text_list(tmp_path / "x.txt"))
