import io
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import soundfile
import torch
import yaml

from voxcert.cli.certify import certify
from voxcert.deployment import SmoothedRecognizer

PITCHES = {"ann": 90, "bob": 150, "cid": 240}
SETTINGS = {"sigma": 0.01, "num_select": 64, "num_estimate": 200, "batch_size": 16, "crop_seconds": 0.4}


def voice(name, take=0, seconds=0.6):
    """A voiced sound: harmonics of a speaker's pitch, in a little noise."""
    time = torch.arange(round(seconds * 16000)) / 16000
    pitch = PITCHES.get(name, 1500)
    sound = sum(torch.sin(2 * torch.pi * pitch * k * time) / k for k in range(1, 20))
    return 0.05 * sound + 0.002 * torch.randn(len(time), generator=torch.Generator().manual_seed(take))


def audio(waveform, **settings):
    """A waveform as the bytes of a WAV file, or of what the settings say."""
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform.numpy(), **({"samplerate": 16000, "format": "WAV"} | settings))
    return buffer.getvalue()


@pytest.fixture
def new_recognizer(checkpoint):
    """A function that makes a recognizer of three voices."""
    enrollment = {name: [voice(name, take) for take in range(2)] for name in PITCHES}
    return lambda: SmoothedRecognizer.from_checkpoint(checkpoint, enrollment, **SETTINGS, seed=0)


@pytest.fixture
def recording():
    """A function that says something as bytes of an audio file: a speaker's name, and settings of soundfile."""
    return lambda name, take=7, seconds=0.6, **settings: audio(voice(name, take, seconds), **settings)


@pytest.fixture
def as_file():
    """`audio`, for waveforms of a test's own."""
    return audio


@pytest.fixture(scope="session")
def certified_run(checkpoint, tmp_path_factory):
    """Folder of a certification run on the three voices."""
    folder = tmp_path_factory.mktemp("deployment")
    for name in PITCHES:
        (folder / "voices" / name).mkdir(parents=True)
        for take in range(3):
            (folder / "voices" / name / f"{take}.wav").write_bytes(audio(voice(name, take)))
    corpus = {"class_path": "voxcert.data.SpeakerFolders", "init_args": {"root": str(folder / "voices")}}
    settings = {name: value for name, value in SETTINGS.items() if name != "crop_seconds"} | {
        "checkpoint": str(checkpoint),
        "output_dir": str(folder / "run"),
        "accelerator": "cpu",
        "enroll_noise": 2,
        "data": {"corpus": corpus, "num_test_speakers": 3, "num_enroll": 1, "crop_seconds": SETTINGS["crop_seconds"]},
    }
    (folder / "certify.yaml").write_text(yaml.safe_dump(settings))
    certify(["--config", str(folder / "certify.yaml")])
    return folder / "run"


CALL = "import sys; from voxcert.cli import main; main(sys.argv[1:])"


@pytest.fixture
def start():
    """A function that runs a command with a free `--port` until the context ends: yields its process and its address.

    It goes on when something listens there.
    """

    @contextmanager
    def started(*arguments, **environment):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = free.getsockname()
        environment = {"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1"} | environment
        command = [sys.executable, "-c", CALL, *map(str, arguments), "--port", str(address[1])]
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        with subprocess.Popen(command, env=os.environ | environment, **output) as process:
            try:
                for _ in range(600):
                    try:
                        socket.create_connection(address).close()
                        break
                    except ConnectionRefusedError:
                        assert process.poll() is None, process.stdout.read()
                        time.sleep(0.2)
                yield process, f"http://127.0.0.1:{address[1]}"
            finally:
                process.kill()

    return started
