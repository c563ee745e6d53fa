import base64
import io
import shutil

import numpy as np
import pytest
import soundfile
import yaml
from reported import lines_of

from voxcert.evaluation.report.runs import open_runs
from voxcert.evaluation.report.sound import examples


def heard(uri):
    return soundfile.read(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_what_is_played_is_what_was_certified_and_what_was_attacked(runs):
    certified, *_, bare = open_runs(runs)
    rows = {row["utterance"]: row for row in lines_of(runs[0]) if row["rule"] == "vote"}
    shown = examples(certified, [bare])
    assert shown
    for one in shown:
        sounds = {sound.title: heard(sound.audio) for sound in one.sounds}
        assert {rate for _, rate in sounds.values()} == {16_000}
        original = sounds["Original"][0]
        row, step = rows[one.utterance], len(original) ** 0.5 / 2**16  # what rounding to 16 bits may add
        assert np.linalg.norm(original) == pytest.approx(row["waveform_norm"], abs=step)
        at_radius = sounds["Perturbation at the radius"][0] - original
        assert np.linalg.norm(at_radius) == pytest.approx(row["radius"], abs=2 * step)
        noise = sounds["Smoothing noise"][0] - original
        assert noise.std() == pytest.approx(row["sigma"], rel=0.05)
        if "Adversarial example" in sounds:
            kept = [row for row in lines_of(runs[3]) if row["utterance"] == one.utterance and row["success"]]
            written, _ = soundfile.read(runs[3] / min(kept, key=lambda row: row["l2"])["file"])
            np.testing.assert_allclose(sounds["Adversarial example"][0], written)


def test_files_that_an_attack_did_not_write_are_not_played(runs, tmp_path):
    """Shorter ones, those of another waveform, and what is no audio any more."""
    attacked = shutil.copytree(runs[3], tmp_path / "bare")
    titles = [sound.title for one in examples(*open_runs([runs[0]]), open_runs([attacked])) for sound in one.sounds]
    assert "Adversarial example" in titles, "or this test says nothing"
    for damage in (lambda samples: samples[:-100], lambda samples: samples / 2, lambda samples: None):
        for path in attacked.rglob("*.flac"):
            samples, rate = soundfile.read(runs[3] / path.relative_to(attacked))
            if (damaged := damage(samples)) is None:
                path.write_bytes(b"")
            else:
                soundfile.write(path, damaged, rate)
        shown = examples(*open_runs([runs[0]]), open_runs([attacked]))
        assert shown
        assert not any(sound.title == "Adversarial example" for one in shown for sound in one.sounds)


def test_recordings_that_are_not_at_hand_or_others_are_said(runs, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(runs[0], folder)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    voices = config["data"]["corpus"]["init_args"]["root"]
    config["data"]["corpus"]["init_args"]["root"] = str(tmp_path / "gone")
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(ValueError, match="gone"):
        examples(open_runs([folder])[0], [])
    shutil.copytree(voices, tmp_path / "gone")
    for path in (tmp_path / "gone").rglob("*.wav"):
        samples, rate = soundfile.read(path)
        soundfile.write(path, samples / 2, rate)
    with pytest.raises(ValueError, match="as it was certified, .* samples with a norm of"):
        examples(open_runs([folder])[0], [])
