import math

import pytest
import torch
import torch.nn.functional as F

from voxcert.training.losses import AngularMarginSoftmax, Consistency, Stability


def margin_softmax(margin=0.2, scale=30.0):
    criterion = AngularMarginSoftmax(2, 2, margin, scale)
    with torch.no_grad():
        criterion.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 0.5]]))  # the norms must not matter
    return criterion


def test_margin_softmax_equals_the_formula():
    criterion = margin_softmax()
    angle = 0.7
    embedding = torch.tensor([[math.cos(angle), math.sin(angle)]])
    loss = criterion(criterion.logits(embedding), torch.tensor([0]))
    true, rival = 30 * math.cos(angle + 0.2), 30 * math.sin(angle)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(rival - true)), rel=1e-4)


def test_without_margin_it_is_cross_entropy():
    torch.manual_seed(0)
    criterion = AngularMarginSoftmax(8, 5, margin=0.0)
    logits, label = criterion.logits(F.normalize(torch.randn(6, 8), dim=-1)), torch.arange(6) % 5
    torch.testing.assert_close(criterion(logits, label), F.cross_entropy(logits, label), atol=1e-3, rtol=1e-4)


def test_loss_falls_monotonically_with_the_angle_to_the_true_class():
    criterion = margin_softmax(margin=0.5, scale=1.0)
    angles = torch.linspace(0, math.pi, 200)
    # The second class is orthogonal: keep its logit fixed and vary the true one.
    logits = torch.stack([torch.cos(angles), torch.zeros(200)], dim=1)
    losses = torch.stack([criterion(row[None], torch.tensor([0])) for row in logits])
    assert (losses.diff() > -1e-6).all()


@pytest.mark.parametrize("angle", [0.0, 0.01, 0.05])
@pytest.mark.parametrize("autocast", [False, True])
def test_gradient_is_finite_near_the_class_centre(angle, autocast):
    criterion = margin_softmax()
    embedding = torch.tensor([[math.cos(angle), math.sin(angle)]], requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        logits = criterion.logits(embedding)
        criterion(logits, torch.tensor([0])).backward()
    assert logits.dtype == torch.float32
    assert torch.isfinite(embedding.grad).all()
    assert torch.isfinite(criterion.weight.grad).all()


@pytest.mark.parametrize(
    ("arguments", "message"), [((2, 1), "num_classes"), ((2, 2, -0.1), "margin"), ((2, 2, 0.1, -30), "scale")]
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=f"{message} must be"):
        AngularMarginSoftmax(*arguments)


def test_a_regulariser_does_not_ask_views_to_differ():
    for kind in (Consistency, Stability):
        with pytest.raises(ValueError, match="weight must be at least 0 and finite, got -1"):
            kind(weight=-1)
    with pytest.raises(ValueError, match="entropy_weight must be at least 0 and finite, got -1"):
        Consistency(entropy_weight=-1)


def test_consistency_equals_hand_computed_value():
    first, second = torch.tensor([0.8, 0.2]), torch.tensor([0.4, 0.6])
    logits = torch.stack([first, second]).log()[:, None]
    mean = [0.6, 0.4]
    divergence = 0.5 * sum(
        m * (math.log(m / p.item()) + math.log(m / q.item())) for m, p, q in zip(mean, first, second, strict=True)
    )
    entropy = -sum(m * math.log(m) for m in mean)
    value = Consistency(weight=10.0, entropy_weight=0.5)(logits).item()
    assert value == pytest.approx(10 * divergence + 0.5 * entropy, rel=1e-5)


def test_stability_is_the_divergence_from_the_clean_view():
    clean, noisy = torch.tensor([0.8, 0.2]), torch.tensor([0.4, 0.6])
    expected = 0.8 * math.log(2.0) + 0.2 * math.log(0.2 / 0.6)
    assert Stability(weight=3.0)(torch.stack([clean, noisy]).log()[:, None]).item() == pytest.approx(3 * expected)


def test_views_that_agree_cost_nothing():
    logits = torch.randn(1, 4, 5, generator=torch.Generator().manual_seed(0)).expand(3, -1, -1)
    assert Stability()(logits).item() == pytest.approx(0, abs=1e-6)
    assert Consistency(entropy_weight=0.0)(logits).item() == pytest.approx(0, abs=1e-5)
