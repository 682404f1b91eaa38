"""The items of a data set as people name them: by id, or by the first words of a title; and a search in the titles.
Users are found by the beginning of their ids.

A catalogue may have millions of items: titles are searched as one text, and a search ends with the matches it needs.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from diffsasrec.config import nearest
from diffsasrec.vocabulary import Vocabulary

_MOST_LOOKED_AT = 500  # titles that begin alike, when one is meant
_MOST_NAMED = 3  # in an error
_LONGEST = 60  # characters of a title in an error


class Catalogue:
    """The items of a data set: which token a person means, and which items a text is found in."""

    def __init__(self, vocabulary: Vocabulary, titles: Sequence[str]) -> None:
        self._vocabulary = vocabulary
        self._titles = titles  # (N,) by logits column

    def item_id(self, token: int) -> int | str:
        """Return what the data calls an item."""
        return self._vocabulary.decode([token]).tolist()[0]

    def title(self, token: int) -> str:
        """Return an item's title."""
        return str(self._titles[Vocabulary.to_column(token)])

    def token_of(self, item: object) -> int:
        """Return the token of an item id, else of the one title that is, or begins with, a text.

        Digits stand for an integer id, as on a command line; case does not matter in a title.

        Raises:
            ValueError: no item, or several; the nearest are named.
        """
        token = self._token_of_id(item)
        if token is not None:
            return token
        text = str(item)
        found = list(islice(self._beginning_with(text), _MOST_LOOKED_AT)) if text.strip() else []
        whole = [each for each in found if _plain(self.title(each)) == _plain(text)]
        meant = whole or found
        if len(meant) == 1:
            return meant[0]
        if meant:
            raise ValueError(f"{text[:_LONGEST]!r} {self._several(meant, is_whole=bool(whole))}: give the id")
        raise ValueError(f"unknown item {text[:_LONGEST]!r}: {self._hint(text)}")

    def search(self, text: str, *, most: int) -> list[int]:
        """Return the tokens of at most so many items: that id, titles that begin with the text, those that hold it."""
        if not text.strip():
            return []
        token = self._token_of_id(text.strip())
        found = dict.fromkeys([] if token is None else [token])
        for matches in (self._beginning_with(text), self._matches(_plain(text))):
            for token in matches:
                if len(found) == most:
                    return list(found)
                found[token] = None
        return list(found)

    def _token_of_id(self, item: object) -> int | None:
        ids = self._vocabulary.item_ids
        if ids.dtype.kind in "iu":
            text = str(item)
            if isinstance(item, bool) or len(text) > 19 or not text.removeprefix("-").isdecimal():
                return None
            wanted: object = int(text)
        else:
            wanted = str(item)
        column = bisect_left(ids, wanted)  # numpy's own would copy all ids to the width of a longer text
        is_there = column < len(ids) and ids[column] == wanted
        return int(Vocabulary.to_token(column)) if is_there else None

    def _beginning_with(self, text: str) -> Iterator[int]:
        return self._matches(f"\n{_plain(text)}")

    def _matches(self, text: str) -> Iterator[int]:
        """Yield the tokens of the items whose titles hold a text, in the order of tokens, each once."""
        joined, starts = self._joined
        place = joined.find(text)
        while place >= 0:
            column = int(np.searchsorted(starts, place + text.startswith("\n"), side="right")) - 1
            yield int(Vocabulary.to_token(column))
            if column + 1 == len(starts):
                return
            place = joined.find(text, int(starts[column + 1]) - 1)  # from the end of the line on

    @cached_property
    def _joined(self) -> tuple[str, NDArray[np.int64]]:
        """Return all titles as lines of one text, and where each begins."""
        titles = np.asarray(self._titles, dtype=object).tolist()  # one by one, Arrow hands out text slowly
        lines = [_plain(str(title)) for title in titles]
        lengths = np.fromiter((len(line) + 1 for line in lines), dtype=np.int64, count=len(lines))
        return "\n" + "\n".join(lines) + "\n", 1 + np.concatenate([[0], np.cumsum(lengths)[:-1]])

    def _several(self, tokens: Sequence[int], *, is_whole: bool) -> str:
        named = ", ".join(self._named(token) for token in tokens[:_MOST_NAMED])
        more = ", ..." if len(tokens) > _MOST_NAMED else ""
        count = (
            f"{_MOST_LOOKED_AT} titles or more" if len(tokens) == _MOST_LOOKED_AT else f"{len(tokens)} titles"
        )
        return f"{'is the whole of' if is_whole else 'begins'} {count} ({named}{more})"

    def _named(self, token: int) -> str:
        title = self.title(token)
        short = title if len(title) <= _LONGEST else f"{title[: _LONGEST - 1]}…"
        return f"{short!r} with the id {self.item_id(token)}"

    def _hint(self, text: str) -> str:
        """Name the item that looks most like the text, among the titles that share the longest beginning with it."""
        plain = _plain(text)[:_LONGEST]
        for length in range(len(plain), 0, -1):
            alike = list(islice(self._beginning_with(plain[:length]), _MOST_LOOKED_AT))
            by_title = {_plain(self.title(token))[:_LONGEST]: token for token in alike}
            close = nearest(plain, by_title) if by_title else None
            if close is not None:
                return f"the nearest is {self._named(by_title[close])}"
            if by_title:
                break
        return f"no id and no title of the {self._vocabulary.num_items:,} items begins so"


def spans_beginning_with(ids: NDArray, text: str) -> Iterator[range]:
    """Yield where in ascending ids those stand that begin with a text: numbers of one length after the other."""
    if ids.dtype.kind not in "iu":
        yield range(bisect_left(ids, text), bisect_right(ids, text + chr(sys.maxunicode)))
        return
    is_number = text.isdecimal() and len(text) < 19
    low = int(text) if is_number and str(int(text)) == text else 2**63
    high = low + 1
    while low < 2**63:
        yield range(bisect_left(ids, low), bisect_left(ids, high))
        low, high = 10 * low or 2**63, 10 * high


def _plain(text: str) -> str:
    """Return a text without case, on one line."""
    return " ".join(text.split()).casefold()
