"""Cards take what was measured, with its command, and nothing that other weights were measured with."""

import pytest
import torch
import yaml

from voxcert.encoders.checkpoint import checkpoint_hash, read_card, save_checkpoint
from voxcert.encoders.ecapa import ECAPA
from voxcert.evaluation.cards.model_card import add_metrics, render
from voxcert.evaluation.certification.tables import summarize
from voxcert.evaluation.run.folder import write_summary

CARD = {"license": "apache-2.0", "parameters": 1_500_000, "training": {}, "attribution": None, "metrics": []}


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    encoder = ECAPA(channels=8, mfa_channels=24, dim=8, attention_channels=4, se_channels=4, res2net_scale=4)
    save_checkpoint(encoder, tmp_path / "mini", CARD)
    return tmp_path / "mini"


@pytest.fixture
def summary(folder, certificate):
    return {
        "command": "python certify.py --checkpoint checkpoints/mini --sigma 0.01",
        "settings": {"sigma": 0.01, "alpha": 1e-3, "num_estimate": 100},
        "checkpoint_hash": checkpoint_hash(folder),
        "num_utterances": 1,
        "num_speakers": 4,
        "rules": summarize([certificate()], [0.0]),
        "timing": {"seconds": 1.0},
    }


def test_metrics_come_with_the_command_that_measured_them(folder, summary, tmp_path):
    write_summary(tmp_path / "run", summary)
    add_metrics(folder, [tmp_path / "run"])
    readme = (folder / "README.md").read_text()
    assert summary["command"] in readme
    assert "| distribution |" in readme
    assert "sigma 0.01, alpha 0.001, n = 100" in readme
    assert "timing" not in str(read_card(folder)["metrics"])


def test_a_measurement_with_the_same_settings_is_replaced(folder, summary, tmp_path):
    for number, sigma in ((1, 0.01), (2, 0.02), (3, 0.01)):
        changed = summary | {"num_utterances": number, "settings": summary["settings"] | {"sigma": sigma}}
        write_summary(tmp_path / f"run{number}", changed)
    card = add_metrics(folder, [tmp_path / f"run{number}" for number in (1, 2, 3)])
    assert [entry["num_utterances"] for entry in card["metrics"]] == [2, 3]


def test_measurements_of_other_weights_are_refused(folder, summary, tmp_path):
    write_summary(tmp_path / "run", summary | {"checkpoint_hash": "0123"})
    with pytest.raises(ValueError, match=r"runs must have measured .*mini .* with the hash 0123"):
        add_metrics(folder, [tmp_path / "run"])


def test_unknown_training_is_left_out():
    text = render("mini", CARD)
    front = yaml.safe_load(text.split("---\n")[1])
    assert "datasets" not in front
    assert "Not recorded." in text
    assert "1.50 M parameters" in text
    assert 'voxcert.load_encoder("checkpoints/mini")' in text
