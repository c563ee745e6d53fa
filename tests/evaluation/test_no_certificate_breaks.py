"""The strongest attack there is here, inside certified radii, on real speech: no decision may turn."""

from pathlib import Path

import pytest

import voxcert
from voxcert.attacks import pgd
from voxcert.data import LibriSpeech, SpeakerDataModule
from voxcert.encoders.checkpoint import checkpoint_hash
from voxcert.evaluation.attack.job import attack_speakers
from voxcert.evaluation.attack.row import AttackRow
from voxcert.evaluation.attack.settings import AttackSettings
from voxcert.evaluation.certification.job import certify_speakers
from voxcert.evaluation.certification.settings import CertificationSettings
from voxcert.evaluation.run.job import Provenance
from voxcert.rows import read_rows


def rows_of(folder):
    return read_rows(Path(folder) / "rows.jsonl", AttackRow)


CHECKPOINT = Path(__file__).parents[2] / "checkpoints" / "ecapa-mini"


@pytest.mark.slow
@pytest.mark.parametrize("decision", ["vote", "mean"])
def test_no_attack_succeeds_inside_a_certified_radius(librispeech, tmp_path, decision):
    """PGD with the gradient of the expectation over 64 draws of noise, 40 steps, 3 restarts, at 0.99 of the radius."""
    data = SpeakerDataModule(
        LibriSpeech(librispeech),
        test_parts=["test-other"],
        train_parts=["train-clean-100"],
        num_enroll=5,
        crop_seconds=1.0,
        max_test_utterances=4,
    )
    encoder, encoder_id = voxcert.load_encoder(CHECKPOINT), checkpoint_hash(CHECKPOINT)
    rule = "vote" if decision == "vote" else "distribution"
    certified = CertificationSettings(
        str(tmp_path / "certified"), 0.01, num_estimate=500, enroll_noise=4, rules=[rule], accelerator="cpu"
    )
    certify_speakers(encoder, data, certified, Provenance(encoder_id))
    settings = AttackSettings(
        str(tmp_path / "attack"),
        certified=certified.output_dir,
        within=0.99,
        sigma=0.01,
        decision=decision,
        targeted=False,
        num_noise=64,
    )
    attack_speakers(encoder, data, pgd(epsilon=1.0, steps=40, restarts=3), settings, Provenance(encoder_id))
    rows = rows_of(settings.output_dir)
    flipped = sum(row.success for row in rows)
    print(f"{decision}: {flipped} of {len(rows)} certified decisions turned")
    assert len(rows) >= 2
    assert flipped == 0
