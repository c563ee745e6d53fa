"""`voxcert serve` as a user starts and stops it."""

import os
import signal
import socket
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
CALL = "import sys; from voxcert.cli import main; main(sys.argv[1:])"


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextmanager
def served(run, *options):
    """The service in a process of its own, and a client; what is left of it is ended."""
    port = free_port()
    source = str(Path(__file__).parents[2] / "src")
    environment = os.environ | {"VOXCERT_TOKEN": TOKEN, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CALL, "serve", str(run), "--port", str(port), *options]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=BEARER, timeout=60) as client:
            _wait(process, client)
            yield process, client
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def _wait(process, client):
    for _ in range(600):
        try:
            assert client.get("/health").json() == {"status": "ok"}
            return
        except httpx.ConnectError:
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.2)
    raise TimeoutError("the service did not start")


def test_sigterm_finishes_what_is_running_and_speakers_are_there_again(certified_run, recording):
    with served(certified_run) as (process, client):
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
    with served(certified_run) as (_, client):
        assert client.get("/speakers").json()["speakers"][-1] == "dora"
        assert client.post("/identify", content=recording("dora", 8)).json()["prediction"] == "dora"


def test_mistakes_are_messages(certified_run, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("VOXCERT_TOKEN", raising=False)
    (tmp_path / "empty").write_text("\n")
    for options, message in (
        (["--host", "0.0.0.0"], "a token must be given to listen on 0.0.0.0"),
        (["--token_file", str(tmp_path / "empty")], "the token must not be empty, got nothing in"),
        (["--token_file", str(tmp_path / "none")], "No such file or directory"),
        (["--threads", "0"], "threads must be at least 1, got 0"),
        (["--max_seconds", "0.1"], "max_seconds must be at least min_seconds"),
        (["--classifier", "x"], "classifier must be one of"),
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
