from pathlib import Path

import pytest
import yaml

from voxcert.evaluation.cards.encoder_table import PUBLISHED, markdown, read_catalogue

ROOT = Path(__file__).parents[3]
CONFIGS = ROOT / "configs" / "encoder"


@pytest.fixture(scope="module")
def entries():
    pytest.importorskip("pyannote.audio")
    return list(read_catalogue(CONFIGS))


def test_every_config_is_listed_and_nothing_else(entries):
    assert [entry.config for entry in entries] == sorted(path.stem for path in CONFIGS.glob("*.yaml"))
    assert {entry.config for entry in entries} == PUBLISHED.keys()


def test_sizes_are_those_of_the_papers(entries):
    """Parameters in millions: 3D-Speaker and wespeaker's model lists, speechbrain, Deep Speaker's and WavLM's cards."""
    millions = {entry.config: entry.parameters / 1e6 for entry in entries}
    assert millions["ecapa"] == pytest.approx(20.8, abs=0.1)
    assert millions["campplus"] == pytest.approx(7.2, abs=0.1)
    assert millions["resnet34"] == pytest.approx(6.63, abs=0.01)
    assert millions["resnet221"] == pytest.approx(23.8, abs=0.1)
    assert millions["resnet293"] == pytest.approx(28.6, abs=0.1)
    assert millions["ecapa_c512"] == pytest.approx(6.19, abs=0.1)
    assert millions["ecapa_c1024"] == pytest.approx(14.65, abs=0.1)
    assert millions["deep_speaker"] == pytest.approx(24.2, abs=0.1)


def test_the_docs_hold_what_the_command_prints(entries):
    assert markdown(entries) in (ROOT / "docs" / "encoders.md").read_text()


def test_a_config_without_published_weights_is_listed_too(tmp_path):
    config = {
        "class_path": "voxcert.encoders.ecapa.ECAPA",
        "init_args": {"channels": 16, "mfa_channels": 48, "dim": 24},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    (entry,) = read_catalogue(tmp_path)
    assert (entry.config, entry.encoder, entry.dim, entry.weights) == ("mine", "ECAPA", 24, "none")
    assert entry.noise_at == "waveform, magnitude, features"
