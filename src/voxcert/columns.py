"""Frozen rows kept as columns: a million of them in a few hundred megabytes, and a field of all of them at once.

A sequence of rows like any other, which are made anew where one asks for them. Column stores (Copeland and Khoshafian
1985, "A decomposition storage model") keep tables in the same way.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import fields
from itertools import islice
from operator import attrgetter
from typing import Generic, Self, TypeVar, get_type_hints

import numpy as np

CODES = {float: "d", float | None: "d", int: "q"}
"""Numbers lie side by side in machine words; anything else is a list of references."""

CHUNK = 1024
"""Rows that are taken in at once."""

Kind = TypeVar("Kind")


class Columns(Sequence[Kind], Generic[Kind]):
    """Rows of one kind.

    Args:
        kind: A frozen dataclass of two fields or more. Its numbers are finite: NaN stands for None.
        rows: To begin with.
    """

    def __init__(self, kind: type[Kind], rows: Iterable[Kind] = ()):
        self.kind = kind
        types = get_type_hints(kind)
        names = [field.name for field in fields(kind)]
        self._values = {name: array(CODES[types[name]]) if types[name] in CODES else [] for name in names}
        self._places = array("q")
        self.extend(rows)

    @classmethod
    def of(cls, kind: type[Kind], rows: Iterable[Kind]) -> "Columns[Kind]":
        """The rows as columns; they stay as they are if they are columns already."""
        return rows if isinstance(rows, cls) else cls(kind, rows)

    def extend(self, rows: Iterable[Kind]) -> None:
        """Appends rows."""
        values_of, rows = attrgetter(*self._values), iter(rows)
        while some := list(islice(rows, CHUNK)):
            start = len(next(iter(self._values.values())))
            for name, values in zip(self._values, zip(*map(values_of, some), strict=True), strict=True):
                self._values[name] = _appended(self._values[name], values)
            self._places.extend(range(start, start + len(some)))

    def column(self, name: str) -> np.ndarray:
        """A field of all rows, shape (rows,): float64 with NaN for None, int64, or objects."""
        values = self._values[name]
        if isinstance(values, array):
            return np.array(values)[self._places]
        return np.fromiter(map(values.__getitem__, self._places), dtype=object, count=len(self))

    def take(self, places: Iterable[int]) -> Self:
        """Some of the rows, by their indices, in that order; they share what is kept."""
        some = copy(self)
        some._places = array("q", map(self._places.__getitem__, places))
        return some

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, place: int | slice) -> Kind | Self:
        if isinstance(place, slice):
            return self.take(range(*place.indices(len(self))))
        place = self._places[place]
        return self.kind(*(_known(values[place]) for values in self._values.values()))

    def __iter__(self) -> Iterator[Kind]:
        columns = list(self._values.values())
        for place in self._places:
            yield self.kind(*[_known(values[place]) for values in columns])


def _appended(column: array | list, values: Sequence[object]) -> array | list:
    """A column with more values; it becomes a list where they are no numbers, or integers of more than 64 bits."""
    if isinstance(column, array):
        if column.typecode == "d":
            values = [np.nan if value is None else value for value in values]
        try:
            column.extend(array(column.typecode, values))
            return column
        except (TypeError, OverflowError):
            column = list(map(_known, column))
    column.extend(map(_known, values))
    return column


def _known(value: object) -> object:
    return None if value != value else value
