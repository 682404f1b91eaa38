"""Ways in which raw files go wrong, and what each must lead to; ``test_bad_files.py`` tries them all.

A case is one file of one data set, damaged in one way. What has to happen is told beside the damage, and by file
where that differs: an error with file, line and words; the same data set as before, without a word; or a data set
together with a remark that says how many rows or items are concerned. "No traceback" alone would be no expectation.
"""

import ast
import bz2
import gzip
import io
import json
import lzma
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path

import pandas as pd

SAMPLES = Path(__file__).parent / "samples"
MILLION = 10**6
BAD, AFTER, FIRST, LAST, NEXT = "bad", "after", "first", "last", "next"  # lines, by what they are


# What must happen


@dataclass(frozen=True)
class Error:
    """One sentence that names the file, the line if there is one, and says these words."""

    words: str
    line: int | str | None = (
        BAD  # BAD and AFTER: the harmed one and that behind it; FIRST: record; NEXT: to the last
    )
    is_missing: bool = False  # FileNotFoundError
    names: str | None = None  # what is named instead of the file


@dataclass(frozen=True)
class Same:
    """The same data set as from the clean files, and no word about it."""


@dataclass(frozen=True)
class Reported:
    """A data set with so many interactions more than the clean one, and a remark with these words."""

    words: str
    rows: int = 0


Outcome = Error | Same | Reported


# Files of lines


@dataclass(frozen=True)
class Lines:
    """A text file of the sample of a data set."""

    data: str  # what ``prepare`` calls it
    name: str
    files: dict[str, bytes] = field(repr=False)  # of the whole sample
    delimiter: bytes = b""
    columns: dict[str, str] = field(default_factory=dict)  # name -> kind, a key of FIELDS
    has_header: bool = False
    is_latin_1: bool = False
    bad: int = 3  # the number of the line that gets harmed
    misfit: str = "fields in"  # words about a line that is of no known form
    syntax: str = "delimited"  # or "json", "literal"
    special: "Special" = field(default_factory=dict, repr=False)  # outcomes that differ from the rule

    @cached_property
    def content(self) -> bytes:
        """What is in the file, without blank lines at the end."""
        content = self.files[self.name]
        content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        return content.rstrip() + b"\n"

    @cached_property
    def lines(self) -> list[bytes]:
        return self.content.splitlines(keepends=True)

    def number(self, line: int | str) -> int:
        """Return the number of a line."""
        known = {BAD: self.bad, AFTER: self.bad + 1, LAST: len(self.lines), NEXT: len(self.lines) + 1}
        return line if isinstance(line, int) else 1 + self.has_header if line == FIRST else known[line]

    @property
    def header(self) -> bytes:
        return (
            self.lines[0]
            if self.has_header
            else self.delimiter.join(n.encode() for n in self.columns) + b"\n"
        )

    @property
    def victim(self) -> bytes:
        return self.lines[self.bad - 1]

    def with_line(self, line: bytes) -> bytes:
        """Return the content with another line in the place of the one that gets harmed."""
        return b"".join([*self.lines[: self.bad - 1], line, *self.lines[self.bad :]])

    def with_more(self, line: bytes, number: int | None = None) -> bytes:
        """Return the content with one line more, before the one that gets harmed."""
        place = (number or self.bad) - 1
        return b"".join([*self.lines[:place], line, *self.lines[place:]])

    def with_fields(self, change: Callable[[list[bytes]], list[bytes]]) -> bytes:
        fields = self.victim.rstrip(b"\r\n").split(self.delimiter)
        return self.with_line(self.delimiter.join(change(fields)) + b"\n")

    def with_value(self, column: str, value: bytes) -> bytes:
        place = list(self.columns).index(column)
        return self.with_fields(lambda fields: [*fields[:place], value, *fields[place + 1 :]])


def sample(form: str) -> dict[str, bytes]:
    """Return the files of a sample."""
    return {path.name: path.read_bytes() for path in sorted((SAMPLES / form).iterdir())}


# Damages of any file of text


def zipped(content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("content", content)
    return archive.getvalue()


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def cut_in_the_last_line(file: Lines) -> bytes:
    last = file.lines[-1]
    return file.content[: -len(last) + 3]


def with_bad_byte(file: Lines) -> bytes:
    return file.with_line(file.victim[:-1] + b"\xe9\n")


def cut_in_a_character(file: Lines) -> bytes:
    return file.content.rstrip(b"\n") + "é".encode()[:1]


def recoded(file: Lines, encoding: str) -> bytes:
    return file.content.decode("latin-1" if file.is_latin_1 else "utf-8").encode(encoding)


ANY: list[tuple[str, Callable[[Lines], bytes], Outcome]] = [
    ("zero bytes", lambda file: b"", Error("empty", None)),
    ("cut in the last line", cut_in_the_last_line, Error("{misfit}", LAST)),
    ("cut in the last field", lambda file: file.content[:-3], Error("{misfit}", LAST)),
    ("cut before the last line", lambda file: b"".join(file.lines[:-1]), Reported("interactions: ", -1)),
    ("the last line has no end", lambda file: file.content.rstrip(b"\n"), Reported("last line has no end")),
    ("utf-16", lambda file: recoded(file, "utf-16"), Error("is UTF-16 text: save it as UTF-8", None)),
    ("utf-16 without mark", lambda file: recoded(file, "utf-16-le"), Error("a NUL character", 1)),
    ("a byte of latin-1", with_bad_byte, Error("no UTF-8 text (byte 0xe9)")),
    ("cut in a character", cut_in_a_character, Error("no UTF-8 text (byte 0xc3)", LAST)),
    ("a NUL", lambda file: file.with_line(b"\0" + file.victim), Error("a NUL character")),
    ("zeros at the end", lambda file: file.content + bytes(4096), Error("a NUL character", NEXT)),
    ("byte-order mark", lambda file: recoded(file, "utf-8-sig"), Same()),
    ("Windows line ends", lambda file: file.content.replace(b"\n", b"\r\n"), Same()),
    ("old Mac line ends", lambda file: file.content.replace(b"\n", b"\r"), Error("lines end in CR alone", 1)),
    ("blank lines at the end", lambda file: file.content + b"\n\n\n", Same()),
    ("a blank line in the middle", lambda file: file.with_more(b"\n"), Same()),
    ("a line of spaces", lambda file: file.with_more(b"   \n"), Error("{misfit}")),
    ("a comment on top", lambda file: file.with_more(b"# made by hand\n", 1), Error("{misfit}", 1)),
    ("a comment in the middle", lambda file: file.with_more(b"# made by hand\n"), Error("{misfit}")),
    ("a line of a million letters", lambda file: file.with_more(b"x" * MILLION + b"\n"), Error("'xxxxxxxxxx")),
    ("compressed, and named as plain", lambda file: gzipped(file.content), Same()),
    ("gzip cut short", lambda file: gzipped(file.content)[:-9], Error("a gzip file that was cut short", None)),
    ("gzip with garbage behind", lambda file: gzipped(file.content) + b"more", Error("a damaged gzip file", None)),
    ("gzip twice", lambda file: gzipped(gzipped(file.content)), Error("was compressed twice", None)),
    ("gzip, harmed inside", lambda file: gzipped(file.content)[:-8] + bytes(8), Error("a damaged gzip file", None)),
    ("zip", lambda file: zipped(file.content), Error("a zip archive: unpack it", None)),
    ("bzip2", lambda file: bz2.compress(file.content), Error("compressed by bzip2: unpack it", None)),
    ("xz", lambda file: lzma.compress(file.content), Error("compressed by xz: unpack it", None)),
    ("a web page", lambda file: b"<!DOCTYPE html>\n<html><body>404</body></html>\n", Error("{misfit}", 1)),
]  # fmt: skip

# Damages of one field, by what stands in it: name, value, what happens. {column} is that of the field.

_WHOLE: list[tuple[str, bytes, Outcome]] = [
    ("empty", b"", Error("{column} is missing")),
    ("a word", b"seven", Error("{column} 'seven' is no whole number")),
    ("10^30", b"1" + b"0" * 30, Error("{column} '1000000000000000000000000000000' is no whole number of 64 bits")),
    ("a fraction", b"1.5", Error("{column} '1.5' is no whole number")),
    ("NaN", b"NaN", Error("{column} 'NaN' is no whole number")),
    ("a million digits", b"9" * MILLION, Error("{column} '999")),
]  # fmt: skip
FIELDS: dict[str, list[tuple[str, bytes, Outcome]]] = {
    "whole": _WHOLE,
    "seconds": [
        *_WHOLE,
        ("10^18", b"1" + b"0" * 18, Error("{column} 1000000000000000000 lies after the year 2100")),
        ("milliseconds", b"978300001000", Error("divide milliseconds by 1000")),
        ("negative", b"-1", Error("{column} '-1' lies before 1970")),
    ],
    "stars": [
        ("empty", b"", Error("{column} is missing")),
        ("a word", b"good", Error("{column} 'good' is no number")),
        ("1e400", b"1e400", Error("{column}")),
        ("NaN", b"NaN", Error("{column}")),
        ("infinite", b"inf", Error("{column}")),
        ("negative", b"-3", Error("rating -3.0 lies outside 0.5 to 5")),
        ("above five", b"7", Error("rating 7.0 lies outside 0.5 to 5")),
    ],
    "text id": [
        ("empty", b"", Error("{column} '' is missing")),
        ("a word", b"seven", Reported("{column}s are no whole numbers ('seven' ...)")),
        ("10^30", b"1" + b"0" * 30, Reported("{column}s are no whole numbers ('1000000000000000000000000000000' ...)")),
        ("NaN", b"NaN", Reported("{column}s are no whole numbers ('NaN' ...)")),
        ("a space before", b" 7", Reported("1 {column}s begin or end with a space")),
        ("a million letters", b"x" * MILLION, Error("has more than 1000 characters")),
    ],
    "guessed seconds": [
        ("empty", b"", Error("timestamp is missing")),
        ("a word", b"soon", Error("timestamp 'soon' is not a number of seconds")),
        ("10^18", b"1" + b"0" * 18, Error("timestamp 1000000000000000000 lies after the year 2100")),
        ("10^30", b"1" + b"0" * 30, Error("timestamp '1")),
        ("1e400", b"1e400", Error("timestamp '")),
        ("negative", b"-1", Error("timestamp '-1' lies before 1970")),
        ("a fraction", b"1.5", Error("timestamp '1.5' is not a number of seconds")),
        ("NaN", b"NaN", Error("timestamp is missing")),
        ("infinite", b"inf", Error("timestamp 'inf' is not a number of seconds")),
        ("true", b"true", Error("timestamp 'true' is not a number of seconds")),
        ("a date among seconds", b"2020-01-01", Error("timestamp '2020-01-01' is not a number of seconds")),
        ("a million digits", b"9" * MILLION, Error("timestamp 'inf' is not a number of seconds")),
    ],
    "title": [
        ("empty", b"", Error("{misfit}")),
        ("a million letters", b"x" * MILLION, Reported("title of 1 items cut to 1000 characters")),
    ],
    "genres": [
        ("a million letters", b"x" * MILLION, Reported("categories of 1 items cut to 1000 characters")),
    ],
    "amazon id": [
        ("empty", b"", Error("{column} '' is missing")),
        ("a word", b"seven", Reported("{column}s do not look like Amazon's ('seven' ...)")),
        ("10^30", b"1" + b"0" * 30, Reported("{column}s do not look like Amazon's ('10000000000000000000")),
        ("NaN", b"NaN", Reported("{column}s do not look like Amazon's ('NaN' ...)")),
        ("a space before", b" A1INVENTED0001", Reported("{column}s do not look like Amazon's (' A1INVENTED0001' ...)")),
        ("a million letters", b"x" * MILLION, Error("has more than 1000 characters")),
    ],
    "list id": [
        ("empty", b"", Error("_id '' is missing")),
        ("a word", b"seven", Reported("{column}s are no whole numbers ('seven' ...)")),
        ("10^30", b"1" + b"0" * 30, Reported("{column}s are no whole numbers ('1000000000000000000000000000000' ...)")),
        ("NaN", b"NaN", Reported("{column}s are no whole numbers ('NaN' ...)")),
        ("a million letters", b"x" * MILLION, Error("has more than 1000 characters")),
    ],
    "misfit": [
        (name, value, Error("{misfit}"))
        for name, value in [
            *((name, value) for name, value, _ in _WHOLE),
            ("negative", b"-3"),
            ("infinite", b"inf"),
            ("1e400", b"1e400"),
        ]
    ],
    "titles": [("empty", b"", Error("{misfit}")), ("a million letters", b"x" * MILLION, Error("{misfit}"))],
    "flag": [
        ("empty", b"", Error("{misfit}")),
        ("a word", b"yes", Error("{misfit}")),
        ("two", b"2", Error("{misfit}")),
    ],
    "genre": [
        ("empty", b"", Error("is not genre|2")),
        ("another", b"Childrens", Reported("1 films have a genre that no MovieLens knows ('Childrens' ...)")),
    ],
    "count": [("empty", b"", Error("is not genre|2")), ("another", b"7", Error("is not genre|2"))],
    "day": [
        ("empty", b"", Error("{misfit}")),
        ("a word", b"yesterday", Error("{misfit}")),
        ("no day", b"2005-02-30", Error("2005-02-30 is no day of the years 1998 to 2005")),
        ("too late", b"2105-02-20", Error("2105-02-20 is no day of the years 1998 to 2005")),
        ("a number of seconds", b"1115942400", Error("{misfit}")),
    ],
    "ignored": [
        ("empty", b"", Same()),
        ("a million letters", b"x" * MILLION, Same()),
    ],
}  # fmt: skip


def reversed_fields(file: Lines) -> bytes:
    return file.with_fields(lambda fields: fields[::-1])


# Damages of a line with fields

TWICE = Reported("1 interactions have the same user, item and time as another", 1)

RECORDS: list[tuple[str, Callable[[Lines], bytes], Outcome]] = [
    ("a field less", lambda file: file.with_fields(lambda fields: fields[:-1]), Error("{misfit}")),
    ("a field more", lambda file: file.with_fields(lambda fields: [*fields, b"1"]), Error("{misfit}")),
    ("fields in another order", reversed_fields, Error("{misfit}")),
    (
        "another delimiter in one line",
        lambda file: file.with_line(file.victim.replace(file.delimiter, b"^")),
        Error("{misfit}"),
    ),
    (
        "another delimiter",
        lambda file: file.content.replace(file.delimiter, b";"),
        Error("{misfit}", 1),
    ),
    ("the header once more", lambda file: file.with_more(file.header), Error("{misfit}")),
    ("a header on top", lambda file: file.header + file.content, Error("{misfit}", FIRST)),
    (
        "an open quote",
        lambda file: file.with_fields(lambda fields: [b'"' + fields[0], *fields[1:]]),
        Error("{misfit}"),
    ),
    ("a line twice", lambda file: file.with_more(file.victim), TWICE),
]  # fmt: skip

# Damages of a line with named fields


def with_record(file: Lines, change: Callable[[dict], dict]) -> bytes:
    """Return the content with a changed record; the text "@@" stands for what no record can hold."""
    is_json = file.syntax == "json"
    record = json.loads(file.victim) if is_json else ast.literal_eval(file.victim.decode())
    changed = change(record)
    return file.with_line((json.dumps(changed) if is_json else repr(changed)).encode() + b"\n")


def with_named(file: Lines, name: str, value: bytes) -> bytes:
    """Return the content with another value of a field, as it is written."""
    quote = b'"' if file.syntax == "json" else b"'"
    content = with_record(file, lambda record: record | {name: "@@"})
    return content.replace(quote + b"@@" + quote, value)


def without(file: Lines, name: str) -> bytes:
    return with_record(file, lambda record: {key: value for key, value in record.items() if key != name})


def twice_in_one(file: Lines) -> bytes:
    fields = file.victim.strip()[1:-1]
    return file.with_line(b"{" + fields + b", " + fields + b"}\n")


OBJECTS: list[tuple[str, Callable[[Lines], bytes], Outcome]] = [
    ("half a line", lambda file: file.with_line(file.victim[: len(file.victim) // 2] + b"\n"), Error("{misfit}")),
    ("a list", lambda file: file.with_line(b"[1, 2]\n"), Error("'[1, 2]' is no ")),
    ("a number", lambda file: file.with_line(b"17\n"), Error("'17' is no ")),
    ("two in a line", lambda file: file.with_line(file.victim.strip() + b" " + file.victim), Error("{misfit}")),
    ("a comma behind", lambda file: file.with_line(file.victim.strip() + b",\n"), Error("is no ")),
    ("a field twice", twice_in_one, Error("occurs twice)")),
    ("deep nesting", lambda file: with_named(file, "more", b"[" * 100_000), Error("is ")),
    ("a call", lambda file: with_named(file, "more", b"open('/etc/passwd')"), Error("{misfit}")),
    ("an open string", lambda file: with_named(file, "more", b'"abc'), Error("{misfit}")),
    ("all in one list", lambda file: b"[" + b",".join(file.lines) + b"]\n", Error("is no ", 1)),
    ("a line twice", lambda file: file.with_more(file.victim), TWICE),
]  # fmt: skip

_OTHER_KINDS: list[tuple[str, bytes | None, Outcome]] = [
    ("missing", None, Error("field '{column}' is missing")),
    ("null", b"null", Error("{column} None is not of type")),
    ("a list", b"[1]", Error("{column} [1] is not of type")),
    ("true", b"true", Error("{column} True is not of type")),
]
NAMED_FIELDS: dict[str, list[tuple[str, bytes | None, Outcome]]] = {
    "text id": [
        *_OTHER_KINDS,
        ("a number", b"7", Error("{column} 7 is not of type str")),
        ("empty", b'""', Error("_id '' is missing")),
        ("another", b'"nobody"', Reported("_ids do not look like Amazon's ('nobody' ...)")),
        ("a million letters", b'"' + b"x" * MILLION + b'"', Error("has more than 1000 characters")),
    ],
    "stars": [
        *_OTHER_KINDS,
        ("text", b'"5.0"', Error("{column} '5.0' is not of type")),
        ("1e400", b"1e400", Error("{column} inf is no finite number")),
        ("NaN", b"NaN", Error("no finite number")),
        ("negative", b"-3", Error("rating -3.0 lies outside 1 to 5")),
        ("above five", b"7", Error("rating 7.0 lies outside 1 to 5")),
    ],
    "seconds": [
        *_OTHER_KINDS,
        ("text", b'"soon"', Error("{column} 'soon' is not of type int")),
        ("10^18", b"1" + b"0" * 18, Error("timestamp 1000000000000000000 lies after the year 2100")),
        ("10^30", b"1" + b"0" * 30, Error("{column} '1000000000000000000000000000000' is no whole number of 64 bits")),
        ("1e400", b"1e400", Error("{column} inf is not of type int")),
        ("a fraction", b"1.5", Error("{column} 1.5 is not of type int")),
        ("negative", b"-1", Error("timestamp '-1' lies before 1970")),
    ],
    "described id": [
        ("missing", None, Error("field 'asin' is missing")),
        ("a number", b"7", Error("asin 7 is not of type str")),
        ("another", b"'0000000000'", Reported("items have no title: their ids are shown")),
    ],
    "title": [
        ("a list", b"['x']", Error("has a title, brand or categories of another type")),
        ("a million letters", b"'" + b"x" * MILLION + b"'", Reported("title of 1 items cut to 1000 characters")),
    ],
    "path": [
        ("a number", b"5", Error("has a title, brand or categories of another type")),
        ("a million letters", b"[['" + b"x" * MILLION + b"']]", Reported("categories of 1 items cut")),
    ],
    "user": [
        *_OTHER_KINDS,
        ("text", b'"nobody"', Error("ids must be all whole numbers or all texts", None)),
        ("another", b"7", Reported("1 of 4 users are not in")),
        ("a fraction", b"1.5", Error("user 1.5 is not of type")),
        ("10^30", b"1" + b"0" * 30, Error("is beyond 64 bits", None)),
    ],
    "items": [
        *(kind for kind in _OTHER_KINDS if kind[0] != "a list"),
        ("a number", b"7", Error("items 7 is not of type list")),
        ("text", b'"1, 2"', Error("items '1, 2' is not of type list")),
        ("of lists", b"[[1], [2]]", Error("item [1]: ids must be all whole numbers or all texts")),
        ("of nothing", b"[null]", Error("item None: ids must be all whole numbers or all texts")),
        ("mixed", b'[1, "a"]', Error("item 'a': ids must be all whole numbers or all texts")),
        ("fractions", b"[1.5]", Error("item 1.5: ids must be all whole numbers or all texts")),
        ("NaN", b"[NaN]", Error("NaN is no JSON number")),
        ("10^30", b"[1" + b"0" * 30 + b"]", Error("is beyond 64 bits", None)),
        ("of truths", b"[true]", Error("item True: ids must be all whole numbers or all texts")),
        ("empty", b"[]", Reported("2 lists are empty")),
    ],
}  # fmt: skip


# Damages of the place


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_link(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


PLACES: list[tuple[str, Callable[[Path], None]]] = [
    ("missing", Path.unlink),
    ("a folder", make_folder),
    ("a link to nothing", partial(make_link, target="nowhere")),
    ("a link to itself", lambda path: make_link(path, path.name)),
    ("a named pipe", make_pipe),
]


# The files, and where they differ from the rule


@dataclass(frozen=True)
class Case:
    """A damage of a file and what it must lead to."""

    file: Lines
    damage: str
    harm: Callable[[Path], None]
    outcome: Outcome

    @property
    def id(self) -> str:
        return f"{self.file.data}/{self.file.name}: {self.damage}"


# Where a kind of file differs from the rule; None: the damage makes no sense there, or nobody could notice it.
Special = dict[str, Outcome | None]
OPEN_END = Reported("last line has no end: it may be cut short")
NAMES: Special = {  # a header names the columns
    "a comment on top": Error("is missing; it has # made by hand", 1),
    "a web page": Error("is missing; it has <!DOCTYPE html>", 1),
    "another delimiter": Error("columns are separated by ';', expected", 1),
}
QUOTES: Special = {"an open quote": Error("quotes that do not match")}
RATINGS: Special = {  # without quotes
    "cut in the last field": Error("lies before 1995, the first year of these data", LAST),
    "the header once more": Error("'user_id' is no whole number"),
    "a header on top": Error("'user_id' is no whole number", FIRST),
    "an open quote": Error("user_id '\"1' is no whole number"),
}
FILMS: Special = {
    "cut in the last field": OPEN_END,
    "cut before the last line": Reported("described_items: 4 here"),
    "a line twice": Error("is described a second time", AFTER),
    "title is empty": Error("has no title"),
}
LATIN_1: Special = {"a byte of latin-1": None, "cut in a character": None}  # where every byte is a letter
UNNAMED: Special = {name: Error("holds nothing of a known form", None, names="") for name, _ in PLACES}
OWN: Special = (
    NAMES
    | QUOTES
    | {
        "cut in the last field": OPEN_END,
        "cut before the last line": None,
        "fields in another order": Error("timestamp 'fine' is not a number of seconds"),
        "the header once more": Error("timestamp 'timestamp' is not a number of seconds"),
        "a header on top": Error("timestamp 'timestamp' is not a number of seconds", FIRST),
        "a folder": Error("holds nothing of a known form", None),
    }
)

UNRECOGNISED = (  # where a form is known by how its file begins
    "zero bytes",
    "utf-16",
    "utf-16 without mark",
    "old Mac line ends",
    "a comment on top",
    "compressed, and named as plain",
    "gzip cut short",
    "gzip with garbage behind",
    "gzip twice",
    "gzip, harmed inside",
    "zip",
    "bzip2",
    "xz",
    "a web page",
    "another delimiter",
    "a header on top",
)

TABLE = b"comment,user_id,item_id,timestamp\n" + b"".join(
    b"fine,%d,%d,%d\n" % (user, item, 1000 * user + item) for user in (1, 2, 3) for item in (4, 5, 6, 7)
)
RATED = {"user_id": "whole", "item_id": "whole", "rating": "stars", "timestamp": "seconds"}
NAMED = {"userId": "whole", "movieId": "whole", "rating": "stars", "timestamp": "seconds"}
MINE = {"comment": "ignored", "user_id": "text id", "item_id": "text id", "timestamp": "guessed seconds"}
FLAGS = {f"flag {place}": "flag" for place in range(5)}
DAT, OLD, CSV = (sample(f"movielens-{form}") for form in ("dat", "100k", "csv"))
NETFLIX, AMAZON = sample("netflix"), sample("amazon-reviews")
FILES = [
    Lines(
        "ml-1m",
        "ratings.dat",
        DAT,
        b"::",
        RATED,
        special=RATINGS | {"fields in another order": Error("rating 7.0 lies outside 0.5 to 5")},
    ),
    Lines(
        "ml-1m",
        "movies.dat",
        DAT,
        b"::",
        {"item": "misfit", "title": "title", "genres": "genres"},
        bad=2,
        is_latin_1=True,
        misfit="is not item::title::genre|genre",
        special=LATIN_1
        | FILMS
        | {
            "a field more": Reported("1 films have a genre that no MovieLens knows ('1' ...)"),
            "title is empty": Error("is not item::title::genre|genre"),
        },
    ),
    Lines(
        "ml-100k",
        "u.data",
        OLD,
        b"\t",
        RATED,
        special=RATINGS | {"fields in another order": Error("timestamp 1 lies before 1995")},
    ),
    Lines(
        "ml-100k",
        "u.item",
        OLD,
        b"|",
        {
            "item": "misfit",
            "title": "title",
            "day": "ignored",
            "video": "ignored",
            "address": "ignored",
            **FLAGS,
        },
        is_latin_1=True,
        misfit="flags for the 5 genres of u.genre",
        special=LATIN_1
        | FILMS
        | {
            "cut in the last field": Error("flags for the 5 genres of u.genre", LAST),
            "cut before the last line": Reported("described_items: 3 here"),
        },
    ),
    Lines(
        "ml-100k",
        "u.genre",
        OLD,
        b"|",
        {"genre": "genre", "place": "count"},
        is_latin_1=True,
        misfit="is not genre|",
        special=LATIN_1
        | {
            "cut before the last line": Error("flags for the 4 genres of u.genre", None),
            "the last line has no end": Same(),  # a genre's number tells that it is whole
            "an open quote": Reported("films have a genre that no MovieLens knows"),
            "a line twice": Error("is not genre|3", AFTER),
        },
    ),
    Lines(
        "ml-latest-small",
        "ratings.csv",
        CSV,
        b",",
        NAMED,
        has_header=True,
        bad=4,
        special=NAMES
        | QUOTES
        | {
            "cut in the last field": Error("lies before 1995, the first year of these data", LAST),
            "fields in another order": Error("movieId '4.5' is no whole number"),
            "the header once more": Error("'userId' is no whole number"),
            "a header on top": Error("'userId' is no whole number", FIRST),
        },
    ),
    Lines(
        "ml-latest-small",
        "movies.csv",
        CSV,
        b",",
        {"movieId": "whole", "title": "title", "genres": "genres"},
        has_header=True,
        bad=4,
        special=NAMES
        | QUOTES
        | FILMS
        | {
            "fields in another order": Error("movieId '(no genres listed)' is no whole number"),
            "the header once more": Error("'movieId' is no whole number"),
            "a header on top": Error("'movieId' is no whole number", FIRST),
        },
    ),
    Lines(
        "netflix",
        "combined_data_1.txt",
        NETFLIX,
        b",",
        {"user": "misfit", "rating": "misfit", "day": "day"},
        misfit="is not user,rating,YYYY-MM-DD",
        special={
            "cut before the last line": Error("the file ends where ratings are expected", 11),
            "the last line has no end": Same(),  # a day tells that it is whole
            "blank lines at the end": Error("'' is not user,rating,YYYY-MM-DD", NEXT),
            "a blank line in the middle": Error("'' is not user,rating,YYYY-MM-DD"),
            "a comment on top": Error("stands before the first line that names a movie", 1),
            "a web page": Error("stands before the first line that names a movie", 1),
            "a header on top": Error("stands before the first line that names a movie", 1),
            "another delimiter": Error("is not user,rating,YYYY-MM-DD", 2),
        },
    ),
    Lines(
        "netflix",
        "movie_titles.csv",
        NETFLIX,
        b",",
        {"movie": "misfit", "year": "misfit", "title": "titles"},
        bad=4,
        is_latin_1=True,
        misfit="is not id,year,title",
        special=LATIN_1
        | {
            "cut in the last field": OPEN_END,
            "cut before the last line": Reported("described_items: 4 here"),
            "a field more": None,  # titles hold commas
            "a line twice": Error("movie 5 stands in line 4 already", AFTER),
        },
    ),
    Lines(
        "an-invented",
        "ratings_Invented.csv",
        sample("amazon-ratings"),
        b",",
        {"user_id": "amazon id", "item_id": "amazon id", "rating": "stars", "timestamp": "seconds"},
        special={
            "cut in the last field": OPEN_END,
            "cut before the last line": None,
            "fields in another order": Error("rating 'B00INVENT1' is no number"),
            "the header once more": Error("rating 'rating' is no number"),
            "a header on top": Same(),  # there are editions with one
            "an open quote": Reported("1 of 3 user_ids do not look like Amazon's ('\"A2INVENTED0002' ...)"),
            "timestamp is negative": Error("timestamp '-1' lies before 1970"),
            **{f"rating is {name}": Error("no finite number") for name in ("NaN",)},
            "rating is negative": Error("rating -3.0 lies outside 1 to 5"),
            "rating is above five": Error("rating 7.0 lies outside 1 to 5"),
        }
        | UNNAMED,
    ),
    Lines(
        "an-invented",
        "reviews_Invented_5.json.gz",
        AMAZON,
        columns={"reviewerID": "text id", "asin": "text id", "overall": "stars", "unixReviewTime": "seconds"},
        syntax="json",
        misfit="is no JSON",
        special={
            "cut before the last line": None,
            "the last line has no end": Same(),
            "a line of spaces": Same(),
        }
        | UNNAMED,
    ),
    Lines(
        "an-invented",
        "meta_Invented.json.gz",
        AMAZON,
        columns={"asin": "described id", "title": "title", "categories": "path"},
        syntax="literal",
        bad=1,
        misfit="is no Python literal",
        special={
            "zero bytes": Reported("4 items have no title: their ids are shown"),
            "cut before the last line": Reported("2 items have no title: their ids are shown"),
            "the last line has no end": Same(),
            "a line of spaces": Same(),
            "a comma behind": Error("is no object with named fields"),
            "a line twice": Error("is described a second time", AFTER),
        }
        | {name: Reported("no meta_Invented.json.gz lies beside") for name, _ in PLACES},
    ),
    *(
        Lines(
            "a-split",
            name,
            sample("given-split"),
            columns={"user": "user", "items": "items"},
            syntax="json",
            bad=1,
            misfit="is no JSON",
            special={
                "cut before the last line": Reported("1 of 3 users are not in", rows),
                "the last line has no end": Same(),
                "a line of spaces": Same(),
                "a line twice": Error("has a list already: join the two", AFTER),
                "items is empty": Reported("2 lists are empty", empty),
            }
            | {place: Error(missing, None, names="") for place, _ in PLACES},
        )
        for name, rows, empty, missing in (
            ("train.jsonl.gz", 0, -3, "holds nothing of a known form"),
            ("val.jsonl.gz", -1, -1, "is the validation part, and there is none"),
            ("test.jsonl.gz", -1, -1, "is the test part, and there is none"),
        )
    ),
    Lines(
        "a-list",
        "invented.txt",
        sample("text-list"),
        b" ",
        {"user_id": "list id", "item_id": "list id"},
        special={
            "cut in the last line": OPEN_END,
            "cut in the last field": None,
            "cut before the last line": None,
            "fields in another order": None,
            "the last line has no end": OPEN_END,
            "the header once more": Reported("user_ids are no whole numbers ('user_id' ...)", 1),
            "an open quote": Reported("user_ids are no whole numbers ('\"1' ...)"),
            "a line twice": Reported("1 interactions have the item of the one before", 1),
        }
        | {name: Error("holds nothing of a known form", None) for name in UNRECOGNISED}
        | UNNAMED,
    ),
    Lines("mine", "mine.csv", {"mine.csv": TABLE}, b",", MINE, has_header=True, bad=4, special=OWN),
    Lines(
        "mine",
        "mine.tsv",
        {"mine.tsv": TABLE.replace(b",", b"\t")},
        b"\t",
        MINE,
        has_header=True,
        bad=4,
        special=OWN,
    ),
    Lines(
        "mine",
        "mine.csv.gz",
        {"mine.csv.gz": gzipped(TABLE)},
        b",",
        MINE,
        has_header=True,
        bad=4,
        special=OWN,
    ),
]


# Parquet


def table_of(file: Lines) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(file.files[file.name]))


def parquet(table: pd.DataFrame) -> bytes:
    content = io.BytesIO()
    table.to_parquet(content, index=False)
    return content.getvalue()


def with_column(file: Lines, *, column: str, value: object) -> bytes:
    """Return the table with one value in all rows of a column, which then has another type."""
    table = table_of(file)
    return parquet(table.assign(**{column: pd.Series([value] * len(table), index=table.index)}))


def with_cell(file: Lines, *, column: str, value: object) -> bytes:
    """Return the table with another value in the third row of a column."""
    table = table_of(file)
    values = table[column].astype(object).tolist()
    values[2] = value
    return parquet(table.assign(**{column: pd.Series(values, index=table.index, dtype=object)}))


def whole(file: Lines) -> bytes:
    return file.files[file.name]


NO_PARQUET = Error("is no whole Parquet file", None)
PARQUET: list[tuple[str, Callable[[Lines], bytes], Outcome]] = [
    ("zero bytes", lambda file: b"", NO_PARQUET),
    ("cut short", lambda file: whole(file)[:-9], NO_PARQUET),
    ("cut in half", lambda file: whole(file)[: len(whole(file)) // 2], NO_PARQUET),
    ("garbage behind", lambda file: whole(file) + b"more", NO_PARQUET),
    ("text", lambda file: b"user,item,timestamp\n1,2,3\n", NO_PARQUET),
    ("compressed", lambda file: gzipped(whole(file)), NO_PARQUET),
    ("zip", lambda file: zipped(whole(file)), NO_PARQUET),
    ("zeros", lambda file: bytes(len(whole(file))), NO_PARQUET),
    ("no rows", lambda file: parquet(table_of(file)[:0]), Error("no interactions", None)),
    (
        "a row twice",
        lambda file: parquet(pd.concat([table_of(file), table_of(file)[-1:]])),
        Reported("1 interactions have the same user, item and time as another", 1),
    ),
]
_TYPES: dict[str, object] = {
    "fractions": 1.5,
    "lists": [1],
    "bytes": b"x",
    "truths": True,
    "dates": pd.Timestamp("2020-01-01"),
}
CELLS: dict[str, list[tuple[str, Callable[..., bytes], object, Outcome]]] = {
    "id": [
        ("a null", with_cell, None, Error("row 3: {id} is missing", None)),
        ("empty", with_column, "", Error("row 1: {id} '' is missing", None)),
        ("a million letters", with_column, "x" * MILLION, Error("has more than 1000 characters", None)),
        ("a NUL", with_column, "a\0b", Error("holds a NUL character", None)),
        *(
            (name, with_column, value, Error("ids must be all integers or all strings", None))
            for name, value in _TYPES.items()
        ),
    ],
    "time": [
        ("a null", with_cell, None, Error("row 3: timestamp is missing", None)),
        (
            "10^18",
            with_cell,
            10**18,
            Error("row 3: timestamp 1000000000000000000 lies after the year 2100", None),
        ),
        ("negative", with_cell, -1, Error("row 3: timestamp '-1' lies before 1970", None)),
        ("words", with_column, "soon", Error("row 1: timestamp 'soon' is not a number of seconds", None)),
        ("fractions", with_column, 1.5, Error("row 1: timestamp '1.5' is not a number of seconds", None)),
        ("infinite", with_column, float("inf"), Error("row 1: timestamp 'inf' is not a number", None)),
        ("lists", with_column, [1], Error("row 1: timestamp '[1]' is not a number of seconds", None)),
        ("truths", with_column, True, Error("holds true and false", None)),
    ],
    "place": [
        ("a null", with_cell, None, Error("column 'pos' holds int64 and 1 are missing", None)),
        *((name, with_column, value, Error("column 'pos' holds ", None)) for name, value in _TYPES.items()),
    ],
    "texts": [
        (name, with_column, value, Error("expected text: convert the column", None))
        for name, value in _TYPES.items()
    ],
}
OWN_TABLE = pd.DataFrame(
    {"user_id": [1, 1, 2, 2], "item_id": [4, 5, 4, 6], "timestamp": [100, 101, 102, 103]}
)
AMAZON_TABLES = sample("amazon-parquet")
TABLES = [
    Lines(
        "mine",
        "mine.parquet",
        {"mine.parquet": parquet(OWN_TABLE)},
        columns={"user_id": "id", "item_id": "id", "timestamp": "time"},
        special={"a folder": OWN["a folder"]},
    ),
    Lines(
        "a-table",
        "interactions.parquet",
        AMAZON_TABLES,
        columns={"user": "id", "item": "id", "timestamp": "time", "pos": "place"},
        special=UNNAMED,
    ),
    Lines(
        "a-table",
        "items.parquet",
        AMAZON_TABLES,
        columns={"item": "texts", "brand": "texts", "categories": "texts"},
        special={
            "no rows": Reported("4 items have no title: their ids are shown"),
            "a row twice": Error("row 5: item 'B4' is described a second time", None),
        }
        | UNNAMED,
    ),
]


def _damages_of_tables(file: Lines) -> Iterator[tuple[str, Callable[[Path], None], Outcome]]:
    changes = list(PARQUET)
    for column, kind in file.columns.items():
        missing = Error(f"column {column!r} is missing", None)
        changes.append((f"no {column}", partial(_without_column, column=column), missing))
        for name, change, value, outcome in CELLS[kind]:
            known_as = {"user": "user_id", "item": "item_id"}.get(column, column)
            about = replace(outcome, words=outcome.words.replace("{id}", known_as))
            changes.append((f"{column} has {name}", partial(change, column=column, value=value), about))
    for name, change, outcome in changes:
        yield name, partial(_write, file=file, change=change), outcome
    for name, harm in PLACES:
        yield name, harm, Error("", None, is_missing=True)


def _without_column(file: Lines, *, column: str) -> bytes:
    return parquet(table_of(file).drop(columns=column))


def cases() -> list[Case]:
    """Return every damage of every file."""
    found = []
    for file in (*FILES, *TABLES):
        for name, harm, outcome in (_damages_of_tables if file in TABLES else _damages)(file):
            expected = file.special.get(name, outcome)
            if expected is not None:
                found.append(Case(file, name, harm, expected))
    return found


def _damages(file: Lines) -> Iterator[tuple[str, Callable[[Path], None], Outcome]]:
    changes = [*ANY, *(RECORDS if file.syntax == "delimited" else OBJECTS)]
    for column, kind in file.columns.items():
        for name, value, outcome in (FIELDS if file.syntax == "delimited" else NAMED_FIELDS)[kind]:
            if file.syntax == "delimited":
                change = partial(Lines.with_value, column=column, value=value)
            elif value is None:
                change = partial(without, name=column)
            else:
                change = partial(with_named, name=column, value=value)
            changes.append((f"{column} is {name}", change, _about(file, outcome, column)))
    for name, change, outcome in changes:
        yield name, partial(_write, file=file, change=change), _about(file, outcome)
    for name, harm in PLACES:
        yield name, harm, Error("", None, is_missing=True)


def _write(path: Path, *, file: Lines, change: Callable[[Lines], bytes]) -> None:
    path.write_bytes(change(file))


def _about(file: Lines, outcome: Outcome, column: str = "") -> Outcome:
    """Return an outcome with the words of a file and the name of a column."""
    if isinstance(outcome, Same):
        return outcome
    return outcome and replace(
        outcome, words=outcome.words.replace("{column}", column).replace("{misfit}", file.misfit)
    )
