"""The service in one process; `test_service_process.py` starts it as a user does."""

import asyncio

import numpy as np
import pytest
import torch

pytest.importorskip("fastapi", reason='needs the service: pip install "voxcert[serve]"')

from fastapi.testclient import TestClient

from voxcert.deployment.enrolled import EnrolledSpeakers
from voxcert.deployment.service import check_exposure, create_app
from voxcert.deployment.uploads import Limits

TOKEN = "a-token-of-tests-0123456789"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def open_client(new_recognizer, tmp_path):
    """A function that opens the service on the test's database."""
    opened = []

    def client(**settings):
        speakers = EnrolledSpeakers(tmp_path / "speakers.sqlite", "system")
        opened.append(speakers)
        client = TestClient(create_app(new_recognizer(), speakers, **settings), base_url="http://127.0.0.1:8000")
        client.database = speakers
        return client

    yield client
    for speakers in opened:
        speakers.close()


@pytest.fixture
def client(open_client):
    return open_client(limits=Limits(max_megabytes=0.2, max_seconds=3.0), token=TOKEN)


def ask(client, path, content=b"", **settings):
    return client.post(path, content=content, headers=BEARER, **settings)


@pytest.mark.parametrize("format", ["WAV", "FLAC"])
def test_names_who_speaks(client, recording, format):
    for name in ("ann", "bob", "cid"):
        answer = ask(client, "/identify", recording(name, format=format)).json()
        assert answer["prediction"] == name
        assert answer["num_forwards"] >= 80
        assert not {"utterance", "seed"} & answer.keys(), "the noise is a secret"


def test_strangers_are_nobody(client, recording):
    assert ask(client, "/identify?threshold=-0.9", recording("bob")).json()["prediction"] == "bob"
    answer = ask(client, "/identify?threshold=0.99999", recording("bob")).json()
    assert (answer["prediction"], answer["nobody"], answer["abstained"]) == (None, True, None)


def test_files_of_a_form_are_recordings(client, recording):
    answer = client.post("/identify", files={"audio": ("bob.wav", recording("bob"))}, headers=BEARER)
    assert answer.json()["prediction"] == "bob"


def test_verifies_a_claim(client, recording):
    for claim, threshold, accepted in (("ann", 0.0, True), ("ann", 0.999999, False)):
        params = {"speaker": claim, "threshold": threshold}
        answer = ask(client, "/verify", recording("ann"), params=params).json()
        assert (answer["claim"], answer["accepted"]) == (claim, accepted)


def test_an_enrolment_is_there_at_once_and_after_a_restart(open_client, recording):
    client = open_client(token=TOKEN)
    files = [("audio", (f"{take}.wav", recording("dora", take))) for take in range(2)]
    answer = client.post("/enroll", params={"speaker": "dora"}, files=files, headers=BEARER)
    assert answer.json() == {"speaker": "dora", "recordings": 2, "enrolled": 4}
    assert ask(client, "/identify", recording("dora")).json()["prediction"] == "dora"
    again = ask(client, "/enroll", recording("dora"), params={"speaker": "dora"})
    assert again.status_code == 409
    assert "replace=true" in again.json()["detail"]
    assert ask(client, "/enroll", recording("dora"), params={"speaker": "ann", "replace": True}).status_code == 200
    kept = client.database.read()
    client.database.close()
    restarted = open_client(token=TOKEN)
    assert client.get("/speakers", headers=BEARER).json() == restarted.get("/speakers", headers=BEARER).json()
    assert restarted.get("/speakers", headers=BEARER).json() == {"speakers": ["bob", "cid", "dora", "ann"]}
    assert all(torch.equal(kept[name], new) for name, new in restarted.database.read().items())
    assert ask(restarted, "/verify", recording("dora"), params={"speaker": "dora", "threshold": 0.9}).json()["accepted"]


def test_two_spellings_that_look_alike_are_one_speaker(client, recording):
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    path = "/enroll?speaker="
    assert ask(client, path + composed, recording("zoe")).json()["speaker"] == composed
    answer = ask(client, path + decomposed, recording("zoe"))
    assert (answer.status_code, "is enrolled already" in answer.text) == (409, True)
    answer = ask(client, f"/verify?speaker={decomposed}&threshold=0.5", recording("zoe"))
    assert answer.json()["claim"] == composed


def test_no_audio_is_kept(open_client, recording, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    client = open_client()
    loud = recording("dora", seconds=40)  # more than a form keeps in memory by itself
    assert client.post("/enroll", params={"speaker": "dora"}, files={"audio": ("a.wav", loud)}).status_code == 200
    assert list((tmp_path / "temporary").iterdir()) == []
    assert (tmp_path / "speakers.sqlite").stat().st_size < 30_000 < len(loud)


def nan():
    samples = torch.full((9600,), 0.1)
    samples[5] = float("nan")
    return samples


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"", 422, "a recording must be sent, as the body or as a file `audio`; got 0 bytes"),
        (b"RIFF but no more", 422, "the recording: not readable as audio, or corrupt"),
        (lambda recording: recording("ann")[:-2000], 422, "the recording: ends early"),
        (lambda recording: recording("ann", seconds=0.2), 422, "too short: at least 0.5 seconds are needed, got 0.200"),
        (lambda recording: recording("ann", seconds=3.5), 413, "at most 3 seconds, got 3.5"),
        (lambda recording: recording("ann", seconds=30), 413, "at most 200000 bytes"),
        ("nan", 422, "samples must be finite, got NaN or infinity"),
        ("silence", 422, "digitally silent"),
        ("muted", 422, "digitally silent"),
    ],
)
def test_what_cannot_be_heard_is_said(client, recording, as_file, content, status, message):
    if callable(content):
        content = content(recording)
    elif content == "nan":
        content = as_file(nan(), subtype="FLOAT")
    elif content == "silence":
        content = as_file(torch.zeros(9600))
    elif content == "muted":
        sound = 0.1 * torch.randn(24000, generator=torch.Generator().manual_seed(0))
        content = as_file(torch.cat([sound[:800], torch.zeros(22400), sound[:800]]))
    for path in ("/identify", "/verify?speaker=ann&threshold=0.5", "/enroll?speaker=dora"):
        answer = ask(client, path, content)
        assert (answer.status_code, message in answer.json()["detail"]) == (status, True), answer.text
        assert "/tmp" not in answer.text


def test_a_body_that_hides_its_size_is_cut_off(client):
    answer = client.post("/identify", content=(b"0" * 50_000 for _ in range(10)), headers=BEARER)
    assert answer.status_code == 413


def test_a_sender_who_goes_away_is_no_error_of_the_service(client):
    """As a server calls the service: half of a recording comes, and then the end of the connection."""
    messages = iter([{"type": "http.request", "body": b"RIFF", "more_body": True}, {"type": "http.disconnect"}])
    headers = [(b"authorization", BEARER["Authorization"].encode())]
    scope = {"type": "http", "method": "POST", "path": "/identify", "query_string": b"", "headers": headers}
    sent = []

    async def receive():
        return next(messages)

    async def send(message):
        sent.append(message)

    asyncio.run(client.app(scope, receive, send))
    assert sent[0]["status"] == 400
    assert b"closed before the whole request had come" in sent[1]["body"]


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/verify?threshold=0.5", 422, "speaker: field required"),
        ("/verify?speaker=ann", 422, "threshold: field required"),
        ("/verify?speaker=ann&threshold=1", 422, "threshold must be in (-1, 1), got 1"),
        ("/verify?speaker=ann&threshold=nan", 422, "threshold: "),
        ("/identify?threshold=1", 422, "threshold: input should be less than 1, got '1'"),
        ("/verify?speaker=eve&threshold=0.5", 404, "speaker must be an enrolled one, got 'eve'"),
        ("/enroll", 422, "speaker: field required"),
        ("/enroll?speaker=", 422, "speaker must have 1 to 200 printable characters"),
        ("/enroll?speaker=%00", 422, "speaker must have 1 to 200 printable characters"),
        ("/identity", 404, "Not Found"),
    ],
)
def test_wrong_parameters_are_named(client, recording, path, status, message):
    answer = ask(client, path, recording("ann"))
    assert (answer.status_code, message in answer.json()["detail"]) == (status, True), answer.text


def test_forms_that_are_none_are_named(client, recording):
    broken = {"Content-Type": "multipart/form-data"} | BEARER
    assert client.post("/identify", content=b"abc", headers=broken).status_code == 422
    other = client.post("/identify", files={"sound": ("a.wav", recording("ann"))}, headers=BEARER)
    assert "must be sent" in other.json()["detail"]
    two = [("audio", (f"{take}.wav", recording("ann", take))) for take in range(2)]
    assert "one recording must be sent, got 2" in client.post("/identify", files=two, headers=BEARER).json()["detail"]


@pytest.mark.parametrize(
    "header", [None, "Bearer another-token-of-tests", f"Basic {TOKEN}", "Bearer ", f"bearer{TOKEN}"]
)
def test_without_the_token_nothing_is_told(client, recording, header):
    headers = {} if header is None else {"Authorization": header}
    for method, path in (
        ("POST", "/identify"),
        ("POST", "/enroll?speaker=x"),
        ("GET", "/speakers"),
        ("GET", "/metrics"),
    ):
        answer = client.request(method, path, headers=headers)
        assert answer.status_code == 401
        assert "Authorization: Bearer TOKEN" in answer.json()["detail"]
    assert client.get("/health").json() == {"status": "ok"}


def test_without_a_token_no_page_in_a_browser_enrols_anybody(open_client, recording):
    client, page = open_client(), {"Origin": "https://example.org"}
    for path in ("/enroll?speaker=ann&replace=true", "/identify"):
        answer = client.post(path, files={"audio": ("a.wav", recording("bob"))}, headers=page)
        assert (answer.status_code, "only if the service has a token" in answer.text) == (403, True)
    assert client.database.read() == {}
    for name in ("evil.example:8000", "127.0.0.1.evil.example", "[", "a b", ""):  # names that their owner points here
        answer = client.get("/speakers", headers={"Host": name})
        assert (answer.status_code, "only if the service has a token" in answer.text) == (403, True)
    for name in ("localhost:8000", "127.0.0.1", "[::1]:8000", "LOCALHOST"):
        assert client.get("/speakers", headers={"Host": name}).json() == {"speakers": ["ann", "bob", "cid"]}
    client.database.close()
    guarded = open_client(token=TOKEN)
    named = page | BEARER | {"Host": "voices.example"}
    assert guarded.post("/identify", content=recording("bob"), headers=named).json()["prediction"] == "bob"


def test_metrics_count_what_was_asked(client, recording):
    ask(client, "/identify", recording("ann"))
    ask(client, "/identify", b"")
    client.get("/never-heard-of")
    text = client.get("/metrics", headers=BEARER).text
    for line in (
        'voxcert_requests_total{path="/identify",status="200"} 1.0',
        'voxcert_requests_total{path="/identify",status="422"} 1.0',
        'voxcert_requests_total{path="other",status="404"} 1.0',
        "voxcert_speakers 3.0",
    ):
        assert line in text
    assert float(text.split("\nvoxcert_noisy_copies_total ")[1].split()[0]) >= 80


def test_who_listens_to_others_needs_a_token():
    for host in ("127.0.0.1", "::1", "localhost"):
        check_exposure(host, None)
    check_exposure("0.0.0.0", TOKEN)
    for host in ("0.0.0.0", "::", "192.168.0.1", "example"):
        with pytest.raises(ValueError, match="a token must be given to listen on"):
            check_exposure(host, None)


def test_settings_out_of_range_are_named(new_recognizer, tmp_path):
    for settings, message in (
        ({"threads": 0}, "threads must be at least 1, got 0"),
        ({"token": "short"}, "token must be 16 or more printable ASCII characters"),
    ):
        with EnrolledSpeakers(tmp_path / "a.sqlite", "system") as speakers, pytest.raises(ValueError, match=message):
            create_app(new_recognizer(), speakers, **settings)
    for settings, message in (
        ({"max_megabytes": 0}, "max_megabytes must be positive and finite, got 0"),
        ({"max_megabytes": float("inf")}, "max_megabytes must be positive and finite, got inf"),
        ({"max_seconds": 0.1}, "max_seconds must be finite and at least min_seconds 0.5, got 0.1"),
        ({"max_seconds": float("nan")}, "max_seconds must be finite and at least min_seconds 0.5, got nan"),
    ):
        with pytest.raises(ValueError, match=message):
            Limits(**settings)


def test_prototypes_are_unit_vectors_of_the_recognizer(client, recording):
    ask(client, "/enroll", recording("dora"), params={"speaker": "dora"})
    (prototype,) = client.database.read().values()
    assert prototype.shape == (24,)
    assert np.isclose(prototype.norm(), 1.0)
