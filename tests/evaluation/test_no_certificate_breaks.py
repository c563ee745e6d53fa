"""The strongest attack there is here, inside certified radii, on real speech: no decision may turn."""

from pathlib import Path

import pytest
import torch
from attacked import rows_of

import voxcert
from voxcert.attacks import ExpectationOverNoise, Verification, pgd
from voxcert.data import LibriSpeech, SpeakerDataModule
from voxcert.encoders.checkpoint import checkpoint_hash
from voxcert.evaluation.attack.job import attack_speakers
from voxcert.evaluation.attack.settings import AttackSettings
from voxcert.evaluation.certification.folder import read_prototypes, read_trials_of_run
from voxcert.evaluation.certification.job import certify_speakers
from voxcert.evaluation.certification.settings import CertificationSettings
from voxcert.evaluation.run.job import Provenance
from voxcert.evaluation.verification.job import verify_speakers
from voxcert.smoothing import ScoreCertifier

CHECKPOINT = Path(__file__).parents[2] / "checkpoints" / "ecapa-mini"


@pytest.mark.slow
@pytest.mark.parametrize("decision", ["vote", "mean"])
def test_no_attack_succeeds_inside_a_certified_radius(librispeech, tmp_path, decision):
    """PGD with the gradient of the expectation over 64 draws of noise, 40 steps, 3 restarts, at 0.99 of the radius.

    At 100 times the largest radius, with fewer steps and draws, it succeeds.
    """
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

    def attacked(name, attack, **changes):
        settings = {"certified": certified.output_dir, "sigma": 0.01, "decision": decision, "targeted": False} | changes
        folder = str(tmp_path / name)
        attack_speakers(encoder, data, attack, AttackSettings(folder, **settings), Provenance(encoder_id))
        return rows_of(folder)

    rows = attacked("inside", pgd(epsilon=1.0, steps=40, restarts=3), within=0.99, num_noise=64)
    assert all(row.failed is None and row.correct_before and row.l2 > 0.9 * row.radius for row in rows), "attacked"
    answered = [row for row in rows if not row.abstained]
    turned = sum(row.turned for row in answered)
    print(f"{decision}: {turned} of {len(rows)} certified decisions turned, {len(rows) - len(answered)} abstained")
    assert len(answered) >= 2
    assert turned == 0
    loud = attacked("loud", pgd(epsilon=1.0, steps=5), radii=[100 * max(row.radius for row in rows)], num_noise=8)
    assert all(row.failed is None for row in loud)
    assert sum(row.success for row in loud) > len(loud) / 2, "the attack works where nothing is proved"


SIGMA, RADIUS, THRESHOLD = 0.01, 0.01, 0.3


def attacked(recognizer, waveform, claims, epsilon, accept):
    """PGD on the smoothed score of claims of one waveform, with few steps and draws: 4 and 3."""
    labels = torch.tensor([recognizer.speakers.index(claim) for claim in claims])
    return pgd(
        ExpectationOverNoise(recognizer, SIGMA, 3, batch_size=64),
        waveform.expand(len(claims), -1),
        labels,
        epsilon=epsilon,
        norm="l2",
        steps=4,
        objective=Verification(THRESHOLD),
        targeted=accept,
    )


@pytest.mark.slow
def test_no_attack_turns_a_certified_claim(librispeech, tmp_path):
    """Of 200 claims and more that are certified to stay accepted, or rejected, none is decided wrongly after PGD."""
    data = SpeakerDataModule(
        LibriSpeech(librispeech, parts=["test-other"]),
        num_test_speakers=10,
        num_enroll=5,
        crop_seconds=1.0,
        max_test_utterances=26,
    )
    encoder, encoder_id = voxcert.load_encoder(CHECKPOINT), checkpoint_hash(CHECKPOINT)
    settings = CertificationSettings(
        str(tmp_path / "run"),
        SIGMA,
        task="verification",
        num_select=16,
        num_estimate=160,
        radii=[RADIUS],
        accelerator="cpu",
        batch_size=32,
    )
    verify_speakers(encoder, data, settings, Provenance(encoder_id))
    rows = [row for row in read_trials_of_run(settings.output_dir) if row.verifier == "vote"]
    prototypes, speakers = read_prototypes(settings.output_dir)
    recognizer = voxcert.Recognizer(encoder, prototypes, speakers)
    certifier = ScoreCertifier(
        encoder, prototypes, speakers, sigma=SIGMA, num_estimate=64, batch_size=16, alpha=1e-3, seed=1
    )
    items = {item["utterance"]: item["waveform"] for item in data.items("test")}
    held, turned, loud = 0, [], []
    for utterance, waveform in items.items():
        for genuine in (True, False):
            own = [row for row in rows if row.utterance == utterance and row.target == genuine]
            sure = [row for row in own if (row.bound(0) >= THRESHOLD if genuine else row.bound(0) < THRESHOLD)]
            budgets = {0.99 * RADIUS: [row.claim for row in sure]}
            if genuine:
                budgets[100 * RADIUS] = [row.claim for row in own]
            for epsilon, claims in budgets.items():
                waves = attacked(recognizer, waveform, claims, epsilon, not genuine) if claims else []
                for number, (wave, claim) in enumerate(zip(waves, claims, strict=True)):
                    answer = certifier.decide(wave, claim, THRESHOLD, f"{utterance} {number} {epsilon}")
                    (turned if epsilon < RADIUS else loud).append(answer.accepted is (not genuine))
            held += len(sure)
    print(f"{sum(turned)} of {held} certified claims turned; {sum(loud)} of {len(loud)} at 100 times the budget")
    assert held == len(turned) >= 200
    assert sum(turned) == 0
    assert sum(loud) > len(loud) / 2, "the attack works where nothing is proved"
