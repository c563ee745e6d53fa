"""Attacks on a trained encoder and real voices: what the linear oracles cannot show."""

import torch

from voxcert.attacks import Margin, bim, check_gradients, norms, pgd, snr_at_epsilon


def test_pgd_makes_every_speaker_pass_for_the_next(speech):
    recognizer, waveform, labels = speech
    targets = labels.roll(1)
    assert not Margin().succeeded(recognizer(waveform), labels, targeted=False).any()
    adversarial = pgd(recognizer, waveform, targets, epsilon=0.005, steps=5, targeted=True)
    assert Margin().succeeded(recognizer(adversarial), targets, targeted=True).all()
    assert norms(adversarial - waveform, "linf").max() <= 0.005 + 1e-7


def test_bim_reaches_the_signal_to_noise_ratio_of_the_literature(speech):
    recognizer, waveform, labels = speech
    adversarial = bim(recognizer, waveform, labels, epsilon=0.001)
    assert Margin().succeeded(recognizer(adversarial), labels, targeted=False).all()
    snr_db = snr_at_epsilon(waveform, norms(adversarial - waveform, "l2"))
    assert 38 < snr_db.mean() < 48  # 43.5 dB at this epsilon in the SSED paper, for other voices


def test_an_undefended_encoder_has_honest_gradients(speech):
    recognizer, waveform, labels = speech
    check_gradients(recognizer, waveform, labels)
    check_gradients(recognizer, waveform, labels.roll(1), targeted=True)


def test_attacks_do_not_touch_weights_or_their_gradients(speech):
    recognizer, waveform, labels = speech
    before = {name: value.clone() for name, value in recognizer.state_dict().items()}
    pgd(recognizer, waveform, labels, epsilon=0.005, steps=1)
    assert all(torch.equal(value, before[name]) for name, value in recognizer.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in recognizer.parameters())
    assert not recognizer.encoder.training
