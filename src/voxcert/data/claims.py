"""Who claims to be whom needs two: one speaker alone can only tell the truth."""

from typing import Any

from voxcert.data.datamodule import SpeakerDataModule


def check_claims(data: Any) -> None:
    """Check that two or more speakers are tested, as error rates of verification need, without reading audio.

    Args:
        data: A data module, or what has its `tested`.

    Raises:
        ValueError: There are fewer; the message says how to have more.
    """
    found = len({one.speaker for one in data.tested("test")})
    if found < 2:
        more = f"; {data.more_to_test}" if isinstance(data, SpeakerDataModule) else ""
        raise ValueError(f"data must have 2 or more tested speakers, for verification, got {found}{more}")
