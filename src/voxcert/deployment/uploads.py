"""Recordings in a request: the body itself, or files of a multipart form; within limits, and never kept."""

import math
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from torch import Tensor

from voxcert.data.audio import AudioError, duration

TOO_LARGE, UNUSABLE = 413, 422


@dataclass(frozen=True)
class Limits:
    """What a service takes.

    Attributes:
        max_megabytes: Size of a request, all of its recordings together.
        min_seconds: Length of a recording, at least.
        max_seconds: Length of a recording, at most.
        max_recordings: Recordings of one enrolment.

    Raises:
        ValueError: If one is out of range.
    """

    max_megabytes: float = 20.0
    min_seconds: float = 0.5
    max_seconds: float = 120.0
    max_recordings: int = 20

    def __post_init__(self) -> None:
        for name in ("max_megabytes", "min_seconds", "max_recordings"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")
        if not self.min_seconds <= self.max_seconds < math.inf:
            raise ValueError(
                f"max_seconds must be finite and at least min_seconds {self.min_seconds}, got {self.max_seconds}"
            )


async def recordings(request: Request, limits: Limits) -> list[bytes]:
    """The recordings of a request: its body, or the files that are called `audio` in a form.

    Raises:
        HTTPException: 413 if they are too large, 422 if there are none or too many, 400 if the sender went away.
    """
    body = await _body(request, round(limits.max_megabytes * 1e6))
    found = [body]
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        found = await _files(request, body)
    if not found or not all(found):
        raise HTTPException(UNUSABLE, "a recording must be sent, as the body or as a file `audio`; got 0 bytes")
    if len(found) > limits.max_recordings:
        raise HTTPException(UNUSABLE, f"there must be at most {limits.max_recordings} recordings, got {len(found)}")
    return found


def decoded(content: bytes, limits: Limits, read: Callable[[str, float], Tensor]) -> Tensor:
    """A recording as a waveform (time,) at 16 kHz; its temporary file is deleted before this returns.

    Args:
        content: The bytes of its file.
        limits: How long it may be.
        read: Reads a file, as `SmoothedRecognizer.read`.

    Raises:
        HTTPException: 413 if it is too long, 422 if it is too short, or cannot be read or used; the message says why.
    """
    with tempfile.NamedTemporaryFile(prefix="recording-") as file:
        file.write(content)
        file.flush()
        try:
            if (seconds := duration(file.name)) > limits.max_seconds:  # before it fills the memory
                raise HTTPException(
                    TOO_LARGE, f"a recording must have at most {limits.max_seconds:g} seconds, got {seconds:.1f}"
                )
            return read(file.name, limits.min_seconds)
        except AudioError as error:
            raise HTTPException(UNUSABLE, str(error).replace(file.name, "the recording")) from error


async def _body(request: Request, limit: int) -> bytes:
    """The body of a request; what is announced or turns out as larger is read no further."""
    announced = request.headers.get("content-length", "")
    content = bytearray()
    too_large = announced.isdecimal() and int(announced) > limit
    if not too_large:
        try:
            async for chunk in request.stream():
                content += chunk
                if too_large := len(content) > limit:
                    break
        except ClientDisconnect as error:
            raise HTTPException(400, "the connection was closed before the whole request had come") from error
    if too_large:
        raise HTTPException(TOO_LARGE, f"a request must have at most {limit} bytes", headers={"Connection": "close"})
    return bytes(content)


class _InMemory(MultiPartParser):
    spool_max_size = 0  # of SpooledTemporaryFile: never to the disk


async def _files(request: Request, body: bytes) -> list[bytes]:
    """The files `audio` of a multipart form."""

    async def stream() -> AsyncIterator[bytes]:
        yield body

    try:
        form = await _InMemory(request.headers, stream()).parse()
    except (MultiPartException, KeyError) as error:
        raise HTTPException(UNUSABLE, f"the multipart form cannot be read: {error}") from error
    files = [await one.read() for one in form.getlist("audio") if isinstance(one, UploadFile)]
    await form.close()
    return files
