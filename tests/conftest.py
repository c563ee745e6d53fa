"""What tests of several packages listen to: real speech where it is at hand, and synthetic voices everywhere."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import torch
from reported import make_runs, make_voices

from tiny import TINY
from voxcert.data import EspeakVoices
from voxcert.encoders.checkpoint import save_checkpoint
from voxcert.encoders.ecapa import ECAPA


@pytest.fixture(scope="session")
def librispeech() -> str:
    """Folder of a small LibriSpeech with the parts train-clean-100 and test-other."""
    default = Path(__file__).parents[2] / "shared" / "data" / "librispeech-mini"
    folder = Path(os.environ.get("VOXCERT_LIBRISPEECH", default))
    if not folder.is_dir():
        pytest.skip(f"needs LibriSpeech at {folder}: set VOXCERT_LIBRISPEECH to a folder that holds its parts")
    return str(folder)


@pytest.fixture(scope="session")
def published_file() -> Callable[[str], Path]:
    """A function that finds a file of weights that its authors published, by name."""
    folder = Path(os.environ.get("VOXCERT_PUBLISHED", Path(__file__).parents[2] / "shared" / "published"))

    def find(name: str) -> Path:
        if not (folder / name).is_file():
            pytest.skip(f"needs {name} in {folder}: set VOXCERT_PUBLISHED to a folder that holds it")
        return folder / name

    return find


@pytest.fixture(scope="session")
def espeak(tmp_path_factory: pytest.TempPathFactory) -> EspeakVoices:
    """Six synthetic speakers with four utterances each, kept for the session."""
    pytest.importorskip("espeakng_loader", reason='needs espeak voices: pip install "voxcert[espeak]"')
    return EspeakVoices(num_speakers=6, utterances_per_speaker=4, cache_dir=str(tmp_path_factory.mktemp("espeak")))


@pytest.fixture(scope="session")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of four speakers with three recordings each of half a second."""
    return _harmonics(tmp_path_factory.mktemp("voices"), takes=3, num_samples=8000)


@pytest.fixture(scope="session")
def short_voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the same speakers with two recordings each of a quarter of a second."""
    return _harmonics(tmp_path_factory.mktemp("voices"), takes=2, num_samples=4000)


def _harmonics(folder: Path, takes: int, num_samples: int) -> Path:
    """Writes recordings of four speakers: harmonics of a pitch of their own, in noise."""
    generator = torch.Generator().manual_seed(0)
    seconds = torch.arange(num_samples) / 16_000
    for number in range(4):
        (folder / f"speaker{number}").mkdir()
        tone = sum(torch.sin(2 * torch.pi * (90 + 60 * number) * k * seconds) / k for k in range(1, 20))
        for take in range(takes):
            waveform = 0.05 * tone + 0.005 * torch.randn(num_samples, generator=generator)
            soundfile.write(folder / f"speaker{number}" / f"{take}.wav", waveform.numpy(), 16_000)
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint folder of a tiny encoder with random weights."""
    torch.manual_seed(0)
    card = {"license": "apache-2.0", "parameters": 1, "training": {}, "attribution": None, "metrics": []}
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    save_checkpoint(ECAPA(**TINY), folder, card)
    return folder


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> list[Path]:
    """Folders of finished runs on four voices: certified, verified, attacked, and the bare encoder attacked."""
    folder = tmp_path_factory.mktemp("reported")
    return make_runs(folder, checkpoint, make_voices(folder / "voices"))


@pytest.fixture(scope="session")
def speech_recognizer(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a speech recognizer of transformers with random weights and four letters."""
    from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("speech_recognizer")
    (folder / "letters.json").write_text(json.dumps({"<pad>": 0, "|": 1, "<unk>": 2, "a": 3, "b": 4}))
    Wav2Vec2CTCTokenizer(str(folder / "letters.json")).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    layers = {"conv_dim": [8, 8], "conv_stride": [20, 16], "conv_kernel": [20, 16], "num_feat_extract_layers": 2}
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = Wav2Vec2Config(vocab_size=5, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, **layers, **sizes)
    network = Wav2Vec2ForCTC(config)
    with torch.no_grad():
        network.lm_head.bias[:3] -= 10  # it writes letters rather than nothing
    network.save_pretrained(folder)
    return str(folder)
