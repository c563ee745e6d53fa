"""Paths of any kind, also those that no file can have, as questions and in messages: none of this raises."""

from pathlib import Path

SHOWN = 200  # characters of a path in a message


def is_file(path: str | Path) -> bool:
    """Whether there is such a file; a name that no file can have (too long, a zero byte) is none.

    Args:
        path: Any.
    """
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: str | Path) -> bool:
    """Whether there is such a folder; a name that no folder can have (too long, a zero byte) is none.

    Args:
        path: Any.
    """
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def printable(text: str) -> str:
    """A text with its stray bytes (of a file name in an old encoding) written out, so that it can be shown and kept.

    Args:
        text: Any.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def shown(path: str | Path) -> str:
    """A path as messages show it: the middle of a very long one is left out.

    Args:
        path: Any.
    """
    text = printable(str(path))
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]}...{text[-SHOWN // 2 :]}"
