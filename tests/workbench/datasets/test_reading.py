import gzip
import subprocess
import sys

import pytest

from workbench.datasets.reading import (
    GUESSED,
    INTEGER,
    LONGEST_LINE,
    NUMBER,
    TEXT,
    json_lines,
    lines,
    literal_lines,
    read_columns,
    read_header,
)

KINDS = {"user": TEXT, "item": INTEGER, "rating": NUMBER}


def write(folder, content, name="a.txt"):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


def read(path, kinds=KINDS, *, delimiter=",", has_header=False, quoted=False):
    return read_columns(path, kinds, delimiter=delimiter, has_header=has_header, quoted=quoted)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("content", [b"a\n\nb\n", b"\xef\xbb\xbfa\r\n\r\nb\r\n", b"a\n\nb"])
def test_lines_are_numbered_as_an_editor_does(tmp_path, pack, content):
    assert list(lines(write(tmp_path, pack(content)))) == [(1, "a"), (3, "b")]


def test_separators_that_python_knows_do_not_end_a_line(tmp_path):
    text = "a\x85b\u2028c\x0cd"
    assert list(lines(write(tmp_path, text + "\n"))) == [(1, text)]


def test_lines_across_blocks_are_whole_and_numbered(tmp_path):
    text = [f"{number} " + "é" * (number % 50) for number in range(1, 60_000)]
    assert list(lines(write(tmp_path, "\n".join(text)))) == list(enumerate(text, start=1))


def test_a_latin_1_format_may_have_been_converted(tmp_path):
    text = "Café\nAmélie\n"
    for encoding in ("latin-1", "utf-8"):
        path = write(tmp_path, text.encode(encoding))
        assert list(lines(path, is_latin_1=True)) == [(1, "Café"), (2, "Amélie")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"good\nCaf\xe9\n", "a.txt, line 2: no UTF-8 text .byte 0xe9"),
        ("good\nCafé".encode()[:-1], "a.txt, line 2: no UTF-8 text .byte 0xc3"),
        (b"good\n" * 300_000 + b"\xff\n", "a.txt, line 300001: no UTF-8"),
        (b"good\nbad\0\n", "a.txt, line 2: a NUL character"),
        ("good\n".encode("utf-16"), "a.txt is UTF-16 text: save it as UTF-8"),
        ("good\n".encode("utf-16-le"), "a.txt, line 1: a NUL character"),
        (b"a\rb\r", "a.txt, line 1: lines end in CR alone"),
        (b"PK\x03\x04rest", "a.txt is a zip archive: unpack it"),
        (b"PAR1rest", "a.txt is a Parquet file"),
        (gzip.compress(b"good\n")[:-5], "a.txt is a gzip file that was cut short"),
        (gzip.compress(b"good\n") + b"garbage", "a.txt is a damaged gzip file .Not a gzipped file"),
        (gzip.compress(b"good\n")[:-8] + b"\0" * 8, "a.txt is a damaged gzip file .CRC"),
        (b"good\n" + b"x" * (LONGEST_LINE + (1 << 20)), "a.txt, line 2: a line of more than 16 million"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_text_is_told_with_its_line(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        list(lines(write(tmp_path, content)))
    assert len(str(caught.value)) < 200


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*gone\.txt"):
        list(lines(tmp_path / "gone.txt"))
    with pytest.raises(ValueError, match="is a folder: a file is expected"):
        list(lines(tmp_path))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_columns_of_a_file_without_header_are_all_there_is(tmp_path, pack):
    found = read(write(tmp_path, pack(b"007::1::2.5\n\n8::2::3\n")), delimiter="::")
    assert found.table.astype({"user": "str"}).to_numpy().tolist() == [["007", 1, 2.5], ["8", 2, 3.0]]
    assert [found.place(row) for row in (0, 1)] == ["a.txt, line 1", "a.txt, line 3"]
    assert found.notes == []


def test_columns_of_a_file_with_header_go_by_name(tmp_path):
    path = write(tmp_path, '\nrating,when,"item"\n4,2020-01-01,"12"\n\n"5",2020-01-02,13\n')
    found = read(path, {"item": INTEGER, "rating": NUMBER, "when": GUESSED}, has_header=True, quoted=True)
    assert found.table["item"].tolist() == [12, 13]
    assert found.table["rating"].tolist() == [4, 5]
    assert str(found.table["when"].iloc[1]) == "2020-01-02 00:00:00"
    assert [found.place(row) for row in (0, 1)] == ["a.txt, line 3", "a.txt, line 5"]
    assert read_header(path, ",") == (2, ["rating", "when", "item"])


def test_many_blocks_are_read_like_one(tmp_path):
    rows = [(f"u{place}", place, place / 2) for place in range(200_000)]
    text = "".join("::".join(map(str, row)) + "\n" for row in rows)
    found = read(write(tmp_path, text), delimiter="::").table
    assert list(found.astype({"user": "str"}).itertuples(index=False, name=None)) == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a.txt: no rows: the file is empty"),
        ("u,1,2\nu,1\n", "a.txt, line 2: 2 fields in 'u,1', expected 3: user,item,rating"),
        ("u,1,2\n\nu,1,2,3\n", "a.txt, line 3: 4 fields in 'u,1,2,3', expected 3"),
        ("u,1,2\nu,one,2\n", "a.txt, line 2: item 'one' is no whole number"),
        ("u,1,2\nu,1000000000000000000000,2\n", "a.txt, line 2: item '1000000000000000000000' is no whole"),
        ("u,1,2\nu,,2\n", "a.txt, line 2: item is missing"),
        ("u,1,2\nu,1,\n", "a.txt, line 2: rating is missing"),
        ("u,1,2\nu,1,good\n", "a.txt, line 2: rating 'good' is no number"),
        ("u,1,2\nu,nan,2\n", "a.txt, line 2: item 'nan' is no whole number"),
        ("u,1," + "9" * 10**6 + "x\n", "a.txt, line 1: rating '999.*' is no number"),
    ],
)
def test_a_record_that_does_not_fit_is_told_with_its_line(tmp_path, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(write(tmp_path, content))
    assert len(str(caught.value)) < 200


def test_a_last_line_without_an_end_is_noted(tmp_path):
    assert read(write(tmp_path, "u,1,2\nu,1,3")).notes == [
        "a.txt: its last line has no end: it may be cut short"
    ]


def test_rows_over_several_lines_are_counted_and_lines_stay_right(tmp_path):
    path = write(tmp_path, 'user,item,rating\n"a\nb",1,2\n\n"c\n\nd",1,2\ne,1,2\n')
    found = read(path, has_header=True, quoted=True)
    assert found.notes == ["a.txt: 2 rows go over several lines, in quotes"]
    assert [found.place(row) for row in (0, 1, 2)] == ["a.txt, line 2", "a.txt, line 5", "a.txt, line 8"]


@pytest.mark.parametrize("text", ['a,1,"x\nb,1,x\nc,1,x\n', 'a,1,"x\nb,1,"x\nc,1,x\n', '"a,1,x\nb,1,x\n'])
def test_a_quote_that_swallows_lines_is_told(tmp_path, text):
    path = write(tmp_path, "user,item,comment\n" + text)
    with pytest.raises(ValueError, match=r"a.txt, line 2: quotes that do not match"):
        read(path, {"user": TEXT, "item": INTEGER}, has_header=True, quoted=True)


def test_a_missing_column_and_another_delimiter_are_told(tmp_path):
    path = write(tmp_path, "user;item;rating\n")
    with pytest.raises(ValueError, match=r"a.txt, line 1: columns are separated by ';', expected ','"):
        read(path, has_header=True)
    path = write(tmp_path, "user,itm,rating\n")
    with pytest.raises(ValueError, match=r"a.txt, line 1: column 'item' is missing .did you mean 'itm'"):
        read(path, has_header=True)
    path = write(tmp_path, "user,item,item,rating\n")
    with pytest.raises(ValueError, match=r"a.txt, line 1: column 'item' occurs twice"):
        read(path, has_header=True)


def test_objects_have_the_fields_that_are_wanted(tmp_path):
    path = write(tmp_path, '{"a": 1, "b": "x"}\n\n{"a": 2.5, "b": "y", "c": [1]}\n')
    kinds = {"a": (int, float), "b": str}
    assert [(number, found["a"]) for number, found in json_lines(path, kinds)] == [(1, 1), (3, 2.5)]
    path = write(tmp_path, "{'a': 1, 'b': \"it's\"}\n")
    assert list(literal_lines(path, kinds)) == [(1, {"a": 1, "b": "it's"})]


@pytest.mark.parametrize("reader", [json_lines, literal_lines])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"a": 1', "is no "),
        ("[1]", "is no "),
        ("", None),
        ('{"a": "1"}', "a '1' is not of type int"),
        ('{"b": 1}', "field 'a' is missing"),
        ('{"a": 1, "a": 2}', "occurs twice"),
        ('{"a": ' + "[" * 100_000, "nested too deeply|is no "),
        ('{"a": ' + "9" * 5000 + "}", "is no "),
        ('{"a": __import__("os")}', "is no "),
    ],
    ids=["cut", "list", "blank", "type", "missing", "twice", "deep", "huge", "call"],
)
def test_a_line_that_is_no_such_object_is_told(tmp_path, reader, line, message):
    path = write(tmp_path, '{"a": 0}\n' + line + "\n")
    if message is None:
        assert [number for number, _ in reader(path, {"a": int})] == [1]
        return
    with pytest.raises(ValueError, match=rf"^a\.txt, line 2: .*({message})") as caught:
        list(reader(path, {"a": int}))
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_constants_that_are_no_json_are_refused(tmp_path, constant):
    with pytest.raises(ValueError, match=rf"a.txt, line 1: .* is no JSON .{constant} is no JSON number"):
        list(json_lines(write(tmp_path, f'{{"a": {constant}}}\n'), {"a": float}))


def test_true_is_no_number(tmp_path):
    with pytest.raises(ValueError, match="a True is not of type int"):
        list(json_lines(write(tmp_path, '{"a": true}\n'), {"a": int}))


def test_an_error_never_aborts_the_process(tmp_path):
    """Threads of the reader that outlived an error did, now and then."""
    path = tmp_path / "bad.csv"
    rows = [f"{user},{user % 7}" for user in range(200_000)]
    path.write_text("\n".join(["user,rating", *rows, "5,"]), encoding="utf-8")
    program = (
        "from pathlib import Path\nfrom workbench.datasets import reading\n"
        "kinds = {'user': reading.INTEGER, 'rating': reading.NUMBER}\n"
        f"reading.read_columns(Path({str(path)!r}), kinds, delimiter=',', has_header=True, quoted=True)\n"
    )
    for _ in range(3):
        called = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert called.returncode == 1
        assert "ValueError" in called.stderr.splitlines()[-1]
