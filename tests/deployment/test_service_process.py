"""`voxcert serve` as a user starts and stops it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from voxcert.cli import main

pytest.importorskip("fastapi", reason='needs the service: pip install "voxcert[serve]"')

TOKEN = "a-token-of-tests-0123456789"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def served(start, certified_run, tmp_path):
    """A function that starts the service on the test's database for a context: its process, and a client."""
    database = tmp_path / "speakers.sqlite"

    @contextmanager
    def served():
        with start("serve", certified_run, "--database", database, "--seed", 0, VOXCERT_TOKEN=TOKEN) as (
            process,
            address,
        ):
            with httpx.Client(base_url=address, headers=BEARER, timeout=60) as client:
                yield process, client

    return served


@pytest.mark.slow
def test_sigterm_finishes_what_is_running_and_speakers_are_there_again(served, recording):
    with served() as (process, client):
        answer = client.post("/enroll", params={"speaker": "dora"}, content=recording("dora"))
        assert answer.json() == {"speaker": "dora", "recordings": 1, "enrolled": 4}
        content = recording("dora")

        def slowly():  # the service is told to end when it has half of the recording
            yield content[:5000]
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            yield content[5000:]

        answer = client.post("/identify", content=slowly())
        assert answer.status_code == 200
        assert answer.json()["prediction"] == "dora"
        assert process.wait(timeout=60) == 0
    with served() as (_, client):
        assert client.get("/speakers").json()["speakers"][-1] == "dora"
        assert client.post("/identify", content=recording("dora", 8)).json()["prediction"] == "dora"


HELD = """
import signal, socket, threading, time
from fastapi import FastAPI, Request
from voxcert.deployment import service

service.PATIENCE = 1
app, begun = FastAPI(), threading.Event()

@app.post("/")
async def slow(request: Request):
    begun.set()
    await request.body()

def send():
    for _ in range(100):
        try:
            connection = socket.create_connection(address)
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    connection.sendall(b"POST / HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 10\\r\\n\\r\\nhalf")
    begun.wait(60)
    signal.raise_signal(signal.SIGTERM)
    time.sleep(600)

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = free.getsockname()
threading.Thread(target=send, daemon=True).start()
service.run(app, *address)
print("ended, begun:", begun.is_set())
"""


def test_a_sender_who_never_ends_does_not_hold_the_service():
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    done = subprocess.run([sys.executable, "-c", HELD], env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "ended, begun: True"), done.stderr


def test_mistakes_are_messages(certified_run, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("VOXCERT_TOKEN", raising=False)
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    (tmp_path / "empty").write_text("\n")
    for options, message in (
        (["--host", "0.0.0.0"], "a token must be given to listen on 0.0.0.0"),
        (["--token_file", str(tmp_path / "empty")], "the token must not be empty, got nothing in"),
        (["--token_file", str(tmp_path / "none")], "No such file or directory"),
        (["--token_file", str(tmp_path / "latin")], "token_file must be text in UTF-8, got"),
        (["--port", "99999"], "99999"),
        (["--threads", "0"], "threads must be at least 1, got 0"),
        (["--max_seconds", "0.1"], "max_seconds must be finite and at least min_seconds"),
        (["--classifier", "x"], "classifier must be one of"),
        (["--accelerator", "x"], "accelerator must be auto, cpu or cuda, got 'x'"),
        (["--database", str(tmp_path)], "must be a database of speakers"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["serve", str(certified_run), *options])
        assert message in capsys.readouterr().err


def test_the_extra_is_named(certified_run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    for module in [name for name in sys.modules if name.startswith("voxcert.deployment.service")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(SystemExit, match="2"):
        main(["serve", str(certified_run)])
    assert 'this command needs prometheus_client: pip install "voxcert[serve]"' in capsys.readouterr().err


@pytest.mark.slow
def test_fifty_clients_at_once_get_the_answers_of_the_library(certified_run, tmp_path, recording, monkeypatch):
    from bench_service import measure

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    recordings = [tmp_path / f"{name}.wav" for name in ("ann", "bob", "cid")]
    for path in recordings:
        path.write_bytes(recording(path.stem))
    results = measure(certified_run, recordings, clients=50, seconds=5)
    assert results["answers"] >= 50
    assert results["answers equal to the library's"] == results["answers"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_commands_of_the_docs_work(served, recording, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text()
    (block,) = re.findall(r"```bash\n(curl .*?)```", page, flags=re.DOTALL)
    for name, take in (("dora1", 1), ("dora2", 2), ("visitor", 3)):
        (tmp_path / f"{name}.wav").write_bytes(recording("dora", take))
    with served() as (_, client):
        commands = block.replace("http://127.0.0.1:8000", str(client.base_url)).replace("curl ", "curl -sSf -w '\\n' ")
        environment = os.environ | {"VOXCERT_TOKEN": TOKEN}
        run = subprocess.run(["bash", "-ec", commands], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    enrolled, identified, open_set, verified, speakers = map(json.loads, run.stdout.splitlines()[:5])
    assert enrolled == {"speaker": "dora", "recordings": 2, "enrolled": 4}
    assert (identified["prediction"], open_set["prediction"], verified["accepted"]) == ("dora", "dora", True)
    assert speakers["speakers"] == ["ann", "bob", "cid", "dora"]
