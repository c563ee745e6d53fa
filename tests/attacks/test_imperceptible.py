import pytest
import torch
from linear import Linear, speech_like

from voxcert.attacks import Audibility, Margin, imperceptible, norms, pgd

TIME = 1000


@pytest.fixture
def problem():
    recognizer, waveform = Linear(4, TIME), speech_like(3, TIME)
    return recognizer, waveform, (recognizer(waveform).argmax(dim=1) + 1) % 4


def test_real_speech_hides_what_plain_pgd_lets_be_heard(speech):
    recognizer, waveform, labels = speech
    waveform, targets = waveform[:2, :16_000], labels[:2].roll(1)
    plain = pgd(recognizer, waveform, targets, epsilon=0.002, early_stop=True, targeted=True)
    hidden = imperceptible(recognizer, waveform, targets, epsilon=0.002, hiding_steps=15, targeted=True)
    audibility = Audibility(waveform)
    for adversarial in (plain, hidden):
        assert Margin().succeeded(recognizer(adversarial), targets, targeted=True).all()
    assert (audibility.energy(hidden - waveform) < 0.3 * audibility.energy(plain - waveform)).all()
    assert (audibility.bins(hidden - waveform) < audibility.bins(plain - waveform)).all()
    assert (audibility.loss(hidden - waveform) < 0.1 * audibility.loss(plain - waveform)).all()


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("kappa", [0.0, 0.3])
def test_a_hundredth_of_the_loss_is_left_at_success_by_kappa(problem, targeted, kappa):
    recognizer, waveform, targets = problem
    labels = targets if targeted else recognizer(waveform).argmax(dim=1)
    settings = {"epsilon": 0.05, "targeted": targeted}
    plain = pgd(recognizer, waveform, labels, random_start=False, early_stop=True, **settings)
    hidden = imperceptible(recognizer, waveform, labels, kappa=kappa, lr=1e-3, hiding_steps=60, **settings)
    assert (Margin().margin(recognizer(hidden), labels, targeted) <= -kappa + 1e-5).all()
    assert hidden.abs().max() <= 1
    loss = Audibility(waveform).loss
    assert (loss(hidden - waveform) < 0.01 * loss(plain - waveform)).all()


def test_more_steps_hide_more(problem):
    recognizer, waveform, targets = problem
    losses = [
        Audibility(waveform).loss(
            imperceptible(
                recognizer, waveform, targets, epsilon=0.05, lr=1e-3, hiding_steps=hiding_steps, targeted=True
            )
            - waveform
        )
        for hiding_steps in (0, 5, 20)
    ]
    assert (losses[1] < losses[0]).all()
    assert (losses[2] < losses[1]).all()


def test_without_hiding_it_is_pgd_that_stops_at_success(problem):
    recognizer, waveform, targets = problem
    settings = {"epsilon": 0.1, "targeted": True}
    expected = pgd(recognizer, waveform, targets, random_start=False, early_stop=True, **settings)
    found = imperceptible(recognizer, waveform, targets, hiding_steps=0, **settings)
    assert Margin().succeeded(recognizer(expected), targets, targeted=True).all()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


def test_the_second_stage_succeeds_where_the_ball_is_too_small(problem):
    recognizer, waveform, targets = problem
    waveform, targets = waveform[1:], targets[1:]
    settings = {"epsilon": 5e-3, "targeted": True}
    assert not Margin().succeeded(recognizer(pgd(recognizer, waveform, targets, **settings)), targets, True).any()
    found = imperceptible(recognizer, waveform, targets, hiding_steps=60, lr=1e-3, **settings)
    assert Margin().succeeded(recognizer(found), targets, targeted=True).all()
    assert (norms(found - waveform, "linf") > 5e-3).all()


def test_where_nothing_succeeds_the_waveform_comes_back(problem):
    recognizer, waveform, targets = problem
    waveform, targets = waveform[1:], targets[1:]
    found = imperceptible(recognizer, waveform, targets, epsilon=1e-4, hiding_steps=2, targeted=True)
    assert torch.equal(found, waveform)


def test_a_row_of_a_batch_equals_the_single_attack(problem):
    recognizer, waveform, labels = problem
    waveform = torch.cat([waveform[:1] / 20, waveform[1:]])
    settings = {"epsilon": 0.1, "hiding_steps": 20, "lr": 1e-3, "targeted": True}
    together = imperceptible(recognizer, waveform, labels, **settings)
    assert (together != waveform).any(dim=1).all()
    for row in range(len(waveform)):
        alone = imperceptible(recognizer, waveform[row, None], labels[row, None], **settings)
        torch.testing.assert_close(together[row, None], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hiding_steps": -1}, "hiding_steps must be at least 0, got -1"),
        ({"lr": 0.0}, "lr and alpha must be positive, got lr=0.0"),
        ({"kappa": -0.1}, "kappa must be at least 0, got -0.1"),
        ({"alpha": -1.0}, "lr and alpha must be positive, .*alpha=-1.0"),
    ],
)
def test_wrong_settings_are_named(problem, settings, message):
    with pytest.raises(ValueError, match=message):
        imperceptible(*problem, epsilon=0.1, **settings)
