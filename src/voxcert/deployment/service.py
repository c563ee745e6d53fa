"""The smoothed recognizer over HTTP: /identify, /verify, /enroll, /speakers, /health and /metrics.

One process, a few threads: the recognizer is safe to share, so an enrolment is there for the very next request. (Why
this is not LitServe's: docs/architecture.md.)
"""

import asyncio
import ipaddress
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from torch import Tensor

from voxcert.data.names import as_speaker
from voxcert.deployment.answers import public
from voxcert.deployment.enrolled import EnrolledSpeakers
from voxcert.deployment.recognizer import SmoothedRecognizer
from voxcert.deployment.uploads import UNUSABLE, Limits, decoded, recordings

MAX_NAME = 200
PATIENCE = 60
"""Seconds that requests have when the service is told to end: a sender who never comes to an end must not keep it."""
ASKED = ("/identify", "/verify", "/enroll", "/speakers", "/health", "/metrics")
Result = TypeVar("Result")


def create_app(
    recognizer: SmoothedRecognizer,
    speakers: EnrolledSpeakers,
    *,
    limits: Limits | None = None,
    token: str | None = None,
    threads: int = 2,
) -> FastAPI:
    """The service as an ASGI application.

    Args:
        recognizer: Who answers; the speakers of the database are enrolled with it.
        speakers: Where new ones are kept.
        limits: What is taken; `Limits()` when None.
        token: What a request must bear (`Authorization: Bearer TOKEN`), but for /health; None asks for nothing, and
            refuses what pages in a browser send, and what is sent to another name than this machine's own: a page may
            have its name point here.
        threads: Recordings that are listened to at a time; others wait.

    Raises:
        ValueError: If `threads` or the token is out of range, or a prototype of the database does not fit.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}")
    if token is not None and (not token.isascii() or not token.isprintable() or len(token) < 16 or " " in token):
        raise ValueError("token must be 16 or more printable ASCII characters without blanks, got another one")
    recognizer.add(speakers.read())
    service = _Service(recognizer, speakers, limits or Limits(), ThreadPoolExecutor(threads, "listening"))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.pool.shutdown()

    def authorized(request: Request) -> None:
        if token is None and ("origin" in request.headers or not _is_loopback(_asked(request))):
            # any page that is open here could have someone enrolled, or read who is (DNS rebinding)
            raise HTTPException(403, "a page in a browser or another host is answered only if the service has a token")
        given = request.headers.get("authorization", "").encode()
        if token is not None and not secrets.compare_digest(given, f"Bearer {token}".encode()):
            needed = "a valid token is needed: send the header Authorization: Bearer TOKEN"
            raise HTTPException(401, needed, headers={"WWW-Authenticate": "Bearer"})

    app = FastAPI(title="voxcert", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(service.measure)
    app.exception_handler(RequestValidationError)(_invalid)
    app.get("/health")(service.health)
    for path, method, function in (
        ("/identify", "POST", service.identify),
        ("/verify", "POST", service.verify),
        ("/enroll", "POST", service.enroll),
        ("/speakers", "GET", service.names),
        ("/metrics", "GET", service.metrics),
    ):
        app.add_api_route(path, function, methods=[method], dependencies=[Depends(authorized)])
    return app


def check_exposure(host: str, token: str | None) -> None:
    """Refuses to listen to others without a token.

    Raises:
        ValueError: If the host is not this machine's loopback and there is no token.
    """
    if not _is_loopback(host) and token is None:
        raise ValueError(f"a token must be given to listen on {host}: without one, host must be 127.0.0.1 or localhost")


def _asked(request: Request) -> str:
    """The name that a request was sent to; nothing where its header is no name, for Starlette has its own then."""
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def run(app: FastAPI, host: str, port: int) -> None:
    """Serves until SIGINT or SIGTERM; what is running then has a minute, and what comes then is not accepted."""
    for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn hands on what it caught: here it has done its work
        signal.signal(number, lambda *_: None)
    settings = {"access_log": False, "server_header": False, "timeout_graceful_shutdown": PATIENCE}
    uvicorn.run(app, host=host, port=port, **settings)


class _Service:
    """What stands behind the paths."""

    def __init__(
        self, recognizer: SmoothedRecognizer, speakers: EnrolledSpeakers, limits: Limits, pool: ThreadPoolExecutor
    ):
        self.recognizer, self.speakers, self.limits, self.pool = recognizer, speakers, limits, pool
        self._enrolling = asyncio.Lock()
        self._registry = CollectorRegistry()
        metric = {"registry": self._registry}
        self._requests = Counter("voxcert_requests", "Requests answered", ["path", "status"], **metric)
        self._seconds = Histogram("voxcert_request_seconds", "Time from request to answer", ["path"], **metric)
        self._copies = Counter("voxcert_noisy_copies", "Noisy copies that answers took", **metric)
        self._abstained = Counter("voxcert_abstentions", "Answers that were none", ["path"], **metric)
        enrolled = Gauge("voxcert_speakers", "Enrolled speakers", **metric)
        enrolled.set_function(lambda: len(recognizer.speakers))

    async def health(self) -> dict[str, str]:
        return {"status": "ok"}

    async def names(self) -> dict[str, Any]:
        return {"speakers": self.recognizer.speakers}

    async def metrics(self) -> Response:
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    async def identify(
        self, request: Request, threshold: float | None = Query(None, gt=-1, lt=1, allow_inf_nan=False)
    ) -> dict[str, Any]:
        content = await self._one(request)
        answer = await self._listen(lambda: self.recognizer.identify(self._decoded(content), threshold))
        return self._told("/identify", answer)

    async def verify(
        self, request: Request, speaker: str, threshold: float = Query(allow_inf_nan=False)
    ) -> dict[str, Any]:
        speaker = _name(speaker)
        if speaker not in self.recognizer.speakers:
            raise HTTPException(404, f"speaker must be an enrolled one, got {speaker!r}")
        content = await self._one(request)
        answer = await self._listen(lambda: self.recognizer.verify(self._decoded(content), speaker, threshold))
        return self._told("/verify", answer)

    async def enroll(self, request: Request, speaker: str, replace: bool = False) -> dict[str, Any]:
        if not 0 < len(speaker) <= MAX_NAME or not speaker.isprintable() or speaker != speaker.strip():
            wanted = f"1 to {MAX_NAME} printable characters, without blanks around them"
            raise HTTPException(UNUSABLE, f"speaker must have {wanted}, got {speaker!r}")
        speaker = _name(speaker)
        contents = await recordings(request, self.limits)
        new = await self._listen(lambda: self.recognizer.prototype([self._decoded(content) for content in contents]))
        async with self._enrolling:  # of two who enrol one name, the second is told
            if speaker in self.recognizer.speakers and not replace:
                raise HTTPException(409, f"speaker {speaker!r} is enrolled already: replace=true enrols them again")
            await self._listen(lambda: (self.speakers.write(speaker, new), self.recognizer.add({speaker: new})))
        return {"speaker": speaker, "recordings": len(contents), "enrolled": len(self.recognizer.speakers)}

    async def measure(self, request: Request, answer: Callable[..., Any]) -> Response:
        start = time.perf_counter()
        path = request.url.path if request.url.path in ASKED else "other"
        status = 500
        try:
            response = await answer(request)
            status = response.status_code
            return response
        finally:
            self._requests.labels(path, status).inc()
            self._seconds.labels(path).observe(time.perf_counter() - start)

    def _decoded(self, content: bytes) -> Tensor:
        return decoded(content, self.limits, self.recognizer.read)

    async def _one(self, request: Request) -> bytes:
        found = await recordings(request, self.limits)
        if len(found) > 1:
            raise HTTPException(UNUSABLE, f"one recording must be sent, got {len(found)}")
        return found[0]

    async def _listen(self, work: Callable[[], Result]) -> Result:
        """Runs this on one of the service's threads; what the recognizer refuses is the sender's to mend."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self.pool, work)
        except ValueError as error:
            raise HTTPException(UNUSABLE, str(error)) from error

    def _told(self, path: str, answer: Any) -> dict[str, Any]:
        self._copies.inc(answer.num_forwards)
        if answer.abstained is not None:
            self._abstained.labels(path).inc()
        return public(answer)


def _name(speaker: str) -> str:
    """A name as people read it, so that nobody is two for two spellings that look alike."""
    try:
        return as_speaker(speaker)
    except ValueError as error:
        raise HTTPException(UNUSABLE, str(error)) from error


async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    """Says in a sentence which parameter is wrong."""
    messages = [f"{one['loc'][-1]}: {one['msg'].lower()}, got {one.get('input')!r}" for one in error.errors()]
    return JSONResponse({"detail": "; ".join(messages)}, UNUSABLE)
