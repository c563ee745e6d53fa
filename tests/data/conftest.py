"""Small audio files of noise, for layouts and for everything that is wrong with files."""

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile


@pytest.fixture
def write_audio(tmp_path: Path) -> Callable[..., Path]:
    """Write noise (or given samples) to a file below tmp_path; folders are made."""

    def write(name: str, seconds: float = 0.5, rate: int = 16_000, samples: object = None, **settings: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(zlib.crc32(name.encode())).normal(0, 0.1, round(seconds * rate)).clip(-1, 1)
        soundfile.write(path, noise if samples is None else samples, rate, **settings)
        return path

    return write
