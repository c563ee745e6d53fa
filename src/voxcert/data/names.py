"""Names as people read them: two spellings that look alike on paper are one speaker.

Texts are composed (Unicode normal form C) and every run of white space is one blank, none at the ends.
"""

import unicodedata
from collections.abc import Callable, Sequence

INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200e\u200f\u2060\ufeff"))
"""Soft hyphen, zero-width blank, direction and byte order marks; joiners stay, which some scripts are written with."""


def composed(name: str) -> str:
    """A name in Unicode's normal form C, its white space as it is: what tells utterances apart.

    Args:
        name: As it is written in a file or a folder.

    Raises:
        ValueError: It has bytes that are no text, such as a file name in an old encoding.
    """
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"a name must be UTF-8 text, got {name!r} (rename it)") from None
    return unicodedata.normalize("NFC", name)


def few(names: Sequence[str], *, count: int = 8, separator: str = ", ", show: Callable[[str], str] = str) -> str:
    """The first of many names or lines, for a message, and how many more there are.

    Args:
        names: All of them.
        count: How many are shown.
        separator: Between two of them.
        show: What is written of one, such as its `repr`.
    """
    rest = f" and {len(names) - count} more" if len(names) > count else ""
    return separator.join(map(show, names[:count])) + rest


def as_read(name: str) -> str:
    """A name as people read it: what tells speakers apart.

    Args:
        name: As it is written in a file or a folder.

    Raises:
        ValueError: It has bytes that are no text.
    """
    return " ".join(composed(name).translate(INVISIBLE).split())


def as_speaker(value: object) -> str:
    """The name of a speaker from a value of a table.

    Args:
        value: Text, or a whole number.

    Raises:
        ValueError: It is something else (a list, a truth value, a fraction), or has nothing to read.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"speaker must be a text or a whole number, got {value!r}")
    name = as_read(str(value))
    if not name:
        raise ValueError(f"speaker must be a name, got {value!r}")
    return name
