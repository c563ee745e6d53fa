"""The rows of a run as an Apache Parquet file, for tools that read tables; an optional extra: `voxcert[parquet]`."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from voxcert.rows import Row, replacing

CHUNK = 50_000
"""Rows that are in memory at once."""


def write_parquet(rows: Iterable[Row], kind: type[Row], path: str | Path) -> int:
    """Writes rows to a Parquet file, a column for each field; the old file is left if anything fails.

    A field that is a number, a word, a truth value or a list of numbers stays one; any other is JSON in a string.

    Args:
        rows: Of one kind.
        kind: Their class.
        path: Of the file.

    Returns:
        How many rows there were.

    Raises:
        ValueError: If pyarrow is not installed, or an integer has more than 64 bits.
        OSError: If the file cannot be written; names it.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError(f'Parquet files need pyarrow: pip install "voxcert[parquet]" ({error})') from error
    simple = {
        str: pa.string(),
        float: pa.float64(),
        int: pa.int64(),
        bool: pa.bool_(),
        list[float]: pa.list_(pa.float64()),
    }
    types = {name: simple.get(_plain(hint)) for name, hint in get_type_hints(kind).items()}
    schema = pa.schema([(name, found or pa.string()) for name, found in types.items()])
    others = [name for name, found in types.items() if found is None]
    number = 0
    with replacing(path) as file, parquet.ParquetWriter(file, schema) as writer:
        for some in _chunks(rows):
            values = [vars(row) | {name: json.dumps(getattr(row, name)) for name in others} for row in some]
            try:
                writer.write_table(pa.Table.from_pylist(values, schema))
            except (pa.ArrowInvalid, OverflowError) as error:
                raise ValueError(f"{path} cannot hold all values of the rows: {error}") from error
            number += len(some)
    return number


def _plain(hint: Any) -> Any:
    """The type of a field without None, which a column may hold anyway."""
    if get_origin(hint) not in (Union, UnionType):
        return hint
    rest = [one for one in get_args(hint) if one is not NoneType]
    return rest[0] if len(rest) == 1 else hint


def _chunks(rows: Iterable[Row]) -> Iterator[Sequence[Row]]:
    rows = iter(rows)
    while some := list(islice(rows, CHUNK)):
        yield some
