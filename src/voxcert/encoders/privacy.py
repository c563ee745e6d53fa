"""What is published of a run says nothing of the machine that it ran on: absolute paths end as their last part."""

import os
import re
from typing import Any

_ABSOLUTE = re.compile(r"""(?<![\w:/.~\\*-])(?:~[\w.-]*|[A-Za-z]:)?[/\\][^\s'"`,;=\[\]{}()]*""")


def without_places(value: Any) -> Any:
    """The same value, with the last part of every absolute path in its texts in place of the path.

    Args:
        value: Plain data, as JSON holds it: `{"root": "/home/anna/voices"}` becomes `{"root": "voices"}`.
    """
    if isinstance(value, dict):
        return {key: without_places(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(item) for item in value]
    if not isinstance(value, str):
        return value
    if os.path.isabs(value) and "\n" not in value and " --" not in value:  # with blanks in it, perhaps
        return _last(value)
    return _ABSOLUTE.sub(lambda found: _last(found[0]), value)


def _last(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1] or "DIR"
