"""What a user sees of an error: a message where it is about what they gave, a traceback where it is a bug."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STOPPED = 130
"""Exit status of what Ctrl-C ended, as shells have it: 128 and the number of SIGINT."""


@contextmanager
def messages_for_errors() -> Iterator[None]:
    """Shows what a ValueError of this package says (a setting, a file) without a traceback, exit status 2.

    A file that the system does not let us read or write (no such path, no permission, a full disk) is a message too,
    and so is a process of the job that is gone. Ctrl-C is one too, exit status 130, and says whether a job goes on.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        print("; ".join(["stopped", *map(str, stop.args)]), file=sys.stderr)
        raise SystemExit(STOPPED) from None
    except OSError as error:
        if error.filename is not None:
            from voxcert.data.paths import shown  # here: --help answers without torch

            print(f"error: {shown(error.filename)}: {error.strerror}", file=sys.stderr)
        elif _is_own(error):
            print(f"error: {error}", file=sys.stderr)
        else:
            raise
        raise SystemExit(2) from None
    except ValueError as error:
        own = next((one for one in (error, error.__cause__) if _is_own(one)), None)  # the parser wraps what classes say
        if own is None:
            raise  # a bug, here or in a library: the traceback is what helps
        print(f"error: {own}", file=sys.stderr)
        raise SystemExit(2) from None


def _is_own(error: BaseException | None) -> bool:
    """Whether this is a ValueError, or about a connection, and was raised in this package."""
    if not isinstance(error, ValueError | ConnectionError) or error.__traceback__ is None:
        return False
    origin = traceback.extract_tb(error.__traceback__)[-1].filename
    return Path(origin).is_relative_to(Path(__file__).parents[1])
