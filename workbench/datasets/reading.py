"""Raw files, opened, decoded and parsed: what is wrong with one is told in a sentence with file and line.

A file may be compressed by gzip and may begin with a byte-order mark, whatever its name says. Text is UTF-8. What a
column means belongs to the adapters.
"""

from __future__ import annotations

import ast
import csv
import gzip
import io
import json
import re
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from diffsasrec.config import nearest

TEXT = pa.dictionary(pa.int32(), pa.string())  # ids as they are written: "007" is not 7
INTEGER = pa.int64()
NUMBER = pa.float64()
GUESSED = None  # whatever the values look like

LONGEST_LINE = 1 << 24  # bytes; what is longer is no text of records
_BLOCK = 1 << 20
_GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UNPACK = "unpack it and give the file that is in it"
_FOREIGN = {  # how files begin that are no text
    b"PK\x03\x04": f"a zip archive: {_UNPACK}",
    b"BZh91AY&SY": f"compressed by bzip2: {_UNPACK}",
    b"\xfd7zXZ\x00": f"compressed by xz: {_UNPACK}",
    b"\x28\xb5\x2f\xfd": f"compressed by zstd: {_UNPACK}",
    b"PAR1": "a Parquet file, and text is expected: name it .parquet and prepare it as a table",
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
}


class Header(NamedTuple):
    """The names of columns and the line where they stand."""

    line: int
    names: list[str]


class Columns(NamedTuple):
    """The columns of a text file."""

    table: pd.DataFrame
    place: Callable[[int], str]  # of a row: "ratings.dat, line 17"
    notes: list[str]  # what a reader should know though nothing is certainly wrong


@dataclass(frozen=True)
class Place:
    """Tells where a row of a table stands in its file: ``ratings.dat, line 17``."""

    path: Path
    delimiter: str
    has_header: bool = False
    quoted: bool = False

    def __call__(self, row: int) -> str:
        records = _records(self.path, self.delimiter, quoted=self.quoted)
        number, _ = next(islice(records, row + self.has_header, None))
        return f"{self.path.name}, line {number}"


def bad_line(path: Path, number: int, words: str) -> NoReturn:
    """Raise the error of a line."""
    raise ValueError(f"{path.name}, line {number}: {words}")


def shown(value: object) -> str:
    """Return a value as messages quote it, 60 characters at most."""
    text = value if isinstance(value, str) else str(value)
    cut = text if len(text) <= 60 else f"{text[:57]}..."
    return repr(cut) if isinstance(value, str) else cut


def lines(
    path: Path, *, is_latin_1: bool = False, notes: list[str] | None = None
) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not empty, without their ends, with their numbers from 1.

    Args:
        path: the file, perhaps compressed by gzip.
        is_latin_1: a line that is no UTF-8 is read as latin-1: for formats of that encoding, which people convert.
        notes: gets a line when the file may have been cut short though nothing is certainly wrong.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a damaged or foreign file, a NUL character, a line of another encoding or without an end.
    """
    for number, line, has_end in _every_line(path, is_latin_1=is_latin_1):
        if not has_end and notes is not None:
            notes.append(_open_end(path))
        if line:
            yield number, line


def text_blocks(path: Path, *, is_latin_1: bool = False, size: int = _BLOCK) -> Iterator[tuple[int, bytes]]:
    """Yield whole lines, about ``size`` bytes at a time, with the number of the first, for parsers of their own.

    What ``lines`` refuses is refused here. Line ends stay as they are.
    """
    with _opened(path) as file:
        number = 1
        while block := _next_block(file, path, number, size):
            if number == 1:
                if block.startswith(_GZIP):
                    raise ValueError(f"{path.name} was compressed twice: unpack it once")
                block = block.removeprefix(_BYTE_ORDER_MARK)
                if b"\r" in block and b"\n" not in block:
                    bad_line(path, 1, "lines end in CR alone, as on old Macs: convert the line ends to LF")
            if (place := block.find(b"\0")) >= 0:
                words = "a NUL character: the file is damaged, or no UTF-8 text"
                bad_line(path, number + block.count(b"\n", 0, place), words)
            if not is_latin_1 and not block.isascii():
                try:
                    block.decode()
                except UnicodeDecodeError as error:
                    words = f"no UTF-8 text (byte 0x{block[error.start]:02x}): convert the file to UTF-8"
                    bad_line(path, number + block.count(b"\n", 0, error.start), words)
            yield number, block
            number += block.count(b"\n")


def json_lines(
    path: Path,
    kinds: Mapping[str, type | tuple[type, ...]],
    *,
    is_wanted: Callable[[str], bool] = lambda line: True,
) -> Iterator[tuple[int, dict]]:
    """Yield one JSON object per line with its line's number; every one has the fields of ``kinds``, of those types.

    Lines that are not wanted are passed over unread.

    Raises:
        FileNotFoundError, ValueError: as ``lines``; and a line that is no JSON object, repeats a key, or lacks a
            field or has it of another type.
    """
    return _objects(path, _parse_json, "JSON", kinds, is_wanted)


def literal_lines(
    path: Path,
    kinds: Mapping[str, type | tuple[type, ...]],
    *,
    is_wanted: Callable[[str], bool] = lambda line: True,
) -> Iterator[tuple[int, dict]]:
    """Yield one Python dictionary per line, as ``json_lines`` does: literals only, nothing is evaluated."""
    return _objects(path, _parse_literal, "Python literal", kinds, is_wanted)


def read_json(path: Path) -> Any:
    """Return the value in a JSON file; raise ``FileNotFoundError`` or ``ValueError`` as ``lines`` does."""
    text = "\n".join(line for _, line in lines(path))
    try:
        return _parse_json(text)
    except RecursionError:
        raise ValueError(f"{path.name}: {shown(text)} is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path.name} is no JSON ({error})") from error


def read_header(path: Path, delimiter: str, *, quoted: bool = True) -> Header:
    """Return the names in the first line that is not empty; raise ``ValueError`` when there is none."""
    line, names = next(_records(path, delimiter, quoted=quoted), (0, []))
    if not names:
        raise ValueError(f"{path.name} is empty: its first line must name the columns")
    return Header(line, names)


def read_columns(
    path: Path, kinds: Mapping[str, pa.DataType | None], *, delimiter: str, has_header: bool, quoted: bool
) -> Columns:
    """Return columns of a text file with one record per line.

    Args:
        path: the file, perhaps compressed by gzip.
        kinds: the wanted columns by name, TEXT, INTEGER, NUMBER or GUESSED each. Without a header these are all
            columns of the file in their order. INTEGER and NUMBER are never missing; TEXT may be empty.
        delimiter: between fields; "::" is possible where nothing is quoted.
        has_header: whether the first line names the columns.
        quoted: whether a field may stand in double quotes and then hold delimiters and line ends.

    Raises:
        FileNotFoundError, ValueError: as ``lines``; and a column that is missing, or a value of another kind.
    """
    names = list(kinds)
    if has_header:
        line, names = read_header(path, delimiter, quoted=quoted)
        for name in kinds:
            check_column(f"{path.name}, line {line}", name, names, delimiter=delimiter)
    place = Place(path, delimiter, has_header, quoted)
    text = _Text(text_blocks(path), delimiter)
    try:
        table = pyarrow.csv.read_csv(
            text,
            read_options=pyarrow.csv.ReadOptions(
                column_names=None if has_header else names,
                block_size=LONGEST_LINE + 2 * _BLOCK,
                use_threads=False,  # threads that still hold the file when an error ends us abort the process
            ),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=text.delimiter, quote_char='"' if quoted else False, newlines_in_values=quoted
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=list(kinds),
                column_types={name: kind for name, kind in kinds.items() if kind is not None},
                null_values=[""],
            ),
        )
    except pa.ArrowException as error:
        _explain(place, names, kinds)
        raise ValueError(f"{path.name} cannot be read: {_first_line(error)}") from error
    if any(table[name].null_count for name, kind in kinds.items() if kind in (INTEGER, NUMBER)):
        _explain(place, names, kinds)
    notes = [_open_end(path)] if text.is_open else []
    if quoted and text.num_lines != table.num_rows + has_header:
        notes += _long_records(place)
    return Columns(table.to_pandas(date_as_object=False), place, notes)


def read_json_columns(path: Path, kinds: Mapping[str, pa.DataType]) -> Columns:
    """Return fields of a file of JSON lines as columns, TEXT, INTEGER or NUMBER each; none is ever missing.

    Raises:
        FileNotFoundError, ValueError: as ``json_lines``.
    """
    text = _Text(text_blocks(path), "")
    plain = {name: pa.string() if kind == TEXT else kind for name, kind in kinds.items()}
    try:
        table = pyarrow.json.read_json(
            text,
            read_options=pyarrow.json.ReadOptions(block_size=LONGEST_LINE + 2 * _BLOCK),
            parse_options=pyarrow.json.ParseOptions(
                explicit_schema=pa.schema(list(plain.items())), unexpected_field_behavior="ignore"
            ),
        ).select(list(kinds))
    except pa.ArrowException as error:
        _explain_json(path, kinds)
        raise ValueError(f"{path.name} cannot be read: {_first_line(error)}") from error
    if table.num_rows != text.num_lines or any(column.null_count for column in table.columns):
        _explain_json(path, kinds)  # blank lines are fine, two objects in a line are not
    for place, (name, kind) in enumerate(kinds.items()):
        if kind == TEXT:
            table = table.set_column(place, name, table[name].dictionary_encode())
    return Columns(table.to_pandas(), partial(_line_of, path), [])


def _explain_json(path: Path, kinds: Mapping[str, pa.DataType]) -> None:
    """Raise ``ValueError`` for the first line that does not fit, or when there is none."""
    types: dict[pa.DataType, Any] = {TEXT: str, INTEGER: int, NUMBER: (int, float)}
    number = 0
    for number, found in json_lines(path, {name: types[kind] for name, kind in kinds.items()}):
        for name, kind in kinds.items():
            if kind == INTEGER and not -(2**63) <= found[name] < 2**63:
                bad_line(path, number, f"{name} {shown(str(found[name]))} is no whole number of 64 bits")
            if kind == NUMBER and not abs(found[name]) < 1e300:
                bad_line(path, number, f"{name} {found[name]} is no finite number")
    if number == 0:
        raise ValueError(f"{path.name}: no rows: the file is empty")


def _line_of(path: Path, row: int) -> str:
    number, _ = next(islice(lines(path), row, None))
    return f"{path.name}, line {number}"


def check_ratings(found: Columns, *, stars: tuple[float, float], first_year: int = 1970) -> None:
    """Raise ``ValueError`` for the first rating or time that cannot be, as where fields are shifted or cut.

    Ratings that are missing and times before 1970 are left to whoever checks the table.
    """
    oldest = int(datetime(first_year, 1, 1, tzinfo=UTC).timestamp())
    given, times = found.table["rating"], found.table["timestamp"]
    for column, wrong, words in (
        (given, (given < stars[0]) | (given > stars[1]), f"lies outside {stars[0]} to {stars[1]}"),
        (times, (times >= 0) & (times < oldest), f"lies before {first_year}, the first year of these data"),
    ):
        if wrong.any():
            row = int(wrong.to_numpy().argmax())
            raise ValueError(f"{found.place(row)}: {column.name} {column.iloc[row]} {words}")


def read_schema(path: Path) -> list[str]:
    """Return the names of a Parquet file's columns; raise ``ValueError`` when it cannot be read."""
    return _from_parquet(path, lambda: pyarrow.parquet.read_schema(path)).names


def read_parquet(path: Path, names: Sequence[str]) -> pa.Table:
    """Return columns of a Parquet file; raise ``ValueError`` when it cannot be read or lacks one."""
    found = read_schema(path)
    for name in names:
        check_column(path.name, name, found)
    return _from_parquet(path, lambda: pyarrow.parquet.read_table(path, columns=list(names)))


def check_column(
    where: str, name: str, found: Sequence[str], *, delimiter: str | None = None, fix: str = ""
) -> None:
    """Raise ``ValueError`` when a column is missing or there twice; name the nearest one, and how to go on."""
    if list(found).count(name) == 1:
        return
    if len(found) == 1 and delimiter is not None:
        other = next((mark for mark in "\t,;|" if mark != delimiter and mark in found[0]), None)
        if other is not None:
            raise ValueError(
                f"{where}: columns are separated by {other!r}, expected {delimiter!r}: {shown(found[0])}"
            )
    close = nearest(name, list(found))
    hint = f" (did you mean {close!r}?)" if close is not None and close != name else ""
    state = "is missing" if name not in found else "occurs twice"
    listed = ", ".join(found)
    listed = listed if len(listed) <= 100 else f"{listed[:97]}..."
    raise ValueError(f"{where}: column {name!r} {state}{hint}; it has {listed}{fix}")


class _Text(io.RawIOBase):
    """Blocks of whole lines as a file for pyarrow, with delimiters of one character; counts as it goes."""

    def __init__(self, blocks: Iterator[tuple[int, bytes]], delimiter: str) -> None:
        self.blocks = blocks
        self.replaced = delimiter.encode() if len(delimiter) > 1 else None
        self.delimiter = delimiter if len(delimiter) == 1 else "\x1f"
        self.rest = memoryview(b"")
        self.num_lines = 0
        self.is_open = False  # the last line has no end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if len(self.rest) == 0:
            _, block = next(self.blocks, (0, b""))
            if block:
                self.is_open = not block.endswith(b"\n")
                self.num_lines += block.count(b"\n") + self.is_open
            if self.replaced is not None:
                block = block.replace(self.replaced, self.delimiter.encode())
            self.rest = memoryview(block)
        length = min(len(buffer), len(self.rest))
        buffer[:length] = self.rest[:length]
        self.rest = self.rest[length:]
        return length


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Hand over the content of a file of text, decompressed where it is gzip."""
    with _open_raw(path) as file:
        start = file.peek(16)
        for magic, what in _FOREIGN.items():
            if start.startswith(magic):
                raise ValueError(f"{path.name} is {what}")
        yield gzip.GzipFile(fileobj=file) if start.startswith(_GZIP) else file  # type: ignore[misc]


def _open_raw(path: Path) -> io.BufferedReader:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder: a file is expected") from None
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror or error}") from error


def _next_block(file: BinaryIO, path: Path, number: int, size: int) -> bytes:
    try:
        block = file.read(size)
        if block and not block.endswith(b"\n"):
            rest = file.readline(LONGEST_LINE)
            if len(rest) == LONGEST_LINE and not rest.endswith(b"\n"):
                words = f"a line of more than {LONGEST_LINE >> 20} million characters: is it text?"
                bad_line(path, number + block.count(b"\n"), words)
            block += rest
        return block
    except EOFError:
        raise ValueError(f"{path.name} is a gzip file that was cut short: get it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path.name} is a damaged gzip file ({error}): get it again") from error
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror or error}") from error


def _every_line(path: Path, *, is_latin_1: bool = False) -> Iterator[tuple[int, str, bool]]:
    """Yield number, text and whether there is a line end."""
    for first, block in text_blocks(path, is_latin_1=is_latin_1):
        if is_latin_1 and not block.isascii():
            decoded = [_utf_8_or_latin_1(line) for line in block.split(b"\n")]
        else:
            decoded = block.decode().split("\n")  # splitlines would cut at other characters too
        rest = decoded.pop()
        for number, line in enumerate(decoded, start=first):
            yield number, line.removesuffix("\r"), True
        if rest:
            yield first + len(decoded), rest.removesuffix("\r"), False


def _utf_8_or_latin_1(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def _records(path: Path, delimiter: str, *, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield the fields of each record with the number of its first line."""
    if not quoted:
        yield from ((number, line.split(delimiter)) for number, line in lines(path))
        return
    csv.field_size_limit(LONGEST_LINE)
    reader = csv.reader((line + "\n" for _, line, _ in _every_line(path)), delimiter=delimiter, strict=True)
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            bad_line(path, number, f"quotes that do not match ({error})")
        if fields is None:
            return
        if fields:
            yield number, fields


def _explain(place: Place, names: Sequence[str], kinds: Mapping[str, pa.DataType | None]) -> None:
    """Raise ``ValueError`` for the first record that does not fit."""
    path, delimiter = place.path, place.delimiter
    found = False
    for number, fields in islice(_records(path, delimiter, quoted=place.quoted), int(place.has_header), None):
        found = True
        if len(fields) != len(names):
            bad_line(
                path,
                number,
                f"{len(fields)} fields in {shown(delimiter.join(fields))}, expected {len(names)}: "
                f"{delimiter.join(names)[:200]}",
            )
        for name, text in zip(names, fields, strict=True):
            kind = kinds.get(name)
            if kind in (INTEGER, NUMBER) and text == "":
                bad_line(path, number, f"{name} is missing: fill it in or drop the line")
            if kind == INTEGER and not _is_integer(text):
                bad_line(path, number, f"{name} {shown(text)} is no whole number of 64 bits")
            if kind == NUMBER and not _is_number(text):
                bad_line(path, number, f"{name} {shown(text)} is no number")
    if not found:
        raise ValueError(f"{path.name}: no rows: the file is empty or holds a header only")


def _is_integer(text: str) -> bool:
    return re.fullmatch(r"\s*[+-]?[0-9]{1,19}\s*", text) is not None and -(2**63) <= int(text) < 2**63


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _long_records(place: Place) -> list[str]:
    """Return a note when values hold line ends; raise ``ValueError`` where quotes do not match."""
    ends = sum(
        any("\n" in field for field in fields)
        for _, fields in _records(place.path, place.delimiter, quoted=True)
    )
    return [f"{place.path.name}: {ends} rows go over several lines, in quotes"] if ends else []


def _objects(
    path: Path,
    parse: Callable[[str], Any],
    kind: str,
    kinds: Mapping[str, type | tuple[type, ...]],
    is_wanted: Callable[[str], bool],
) -> Iterator[tuple[int, dict]]:
    for number, line in lines(path):
        if line.isspace() or not is_wanted(line):
            continue
        try:
            found = parse(line)
        except RecursionError:
            bad_line(path, number, f"{shown(line)} is nested too deeply")
        except (ValueError, SyntaxError, TypeError, MemoryError) as error:
            words = " ".join(str(error).split())[:80]
            bad_line(path, number, f"{shown(line)} is no {kind} ({words})")
        if not isinstance(found, dict):
            bad_line(path, number, f"{shown(line)} is no object with named fields")
        for name, wanted in kinds.items():
            if name not in found:
                bad_line(path, number, f"field {name!r} is missing in {shown(line)}")
            if not isinstance(found[name], wanted) or isinstance(found[name], bool):
                types = wanted if isinstance(wanted, tuple) else (wanted,)
                expected = " or ".join(each.__name__ for each in types)
                bad_line(path, number, f"{name} {shown(found[name])} is not of type {expected}")
        yield number, found


def _parse_json(line: str) -> Any:
    return json.loads(line, object_pairs_hook=_distinct, parse_constant=_refuse_constant)


def _parse_literal(line: str) -> Any:
    if not line.lstrip().startswith("{"):
        raise ValueError("it does not begin with a brace")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd escapes in titles are what the publisher wrote
        tree = ast.parse(line.strip(), mode="eval").body
    if isinstance(tree, ast.Dict):
        _distinct([(ast.unparse(key), None) for key in tree.keys if key is not None])
    return ast.literal_eval(tree)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{shown(twice)} occurs twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _from_parquet(path: Path, read: Callable[[], Any]) -> Any:
    _open_raw(path).close()  # says in our words that it is missing, or a folder
    try:
        return read()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"{path.name} is no whole Parquet file ({_first_line(error).split('. ')[0]}): get it again"
        ) from error


def _open_end(path: Path) -> str:
    return f"{path.name}: its last line has no end: it may be cut short"


def _first_line(error: Exception) -> str:
    return str(error).split("\n", maxsplit=1)[0][:200]
