import math

import pytest
import torch

from voxcert.attacks.inversion.descent import Descent, invert, sliding_inversion

WEIGHTS = torch.randn(4, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGETS = torch.tensor([0, 1, 2, 3])


def linear(points):
    return (points @ WEIGHTS.T).log_softmax(dim=-1)


def weighted(points):
    """As `linear`, with weights that have a gradient."""
    return (points @ WEIGHTS.T.clone().requires_grad_()).log_softmax(dim=-1)


def starts(num=4, size=10, seed=1):
    return torch.randn(num, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def hand_gradient(points, targets, cost):
    """Of a linear softmax: -log p_t has sum_k p_k w_k - w_t, and 1 - p_t that times p_t."""
    posteriors = linear(points).exp()
    gradient = posteriors @ WEIGHTS - WEIGHTS[targets]
    return gradient * posteriors.gather(1, targets[:, None]) if cost == "posterior" else gradient


@pytest.mark.parametrize("cost", ["posterior", "log_posterior"])
def test_steps_are_those_computed_by_hand(cost):
    points = starts()
    found = invert(linear, points, TARGETS, Descent(step_size=0.1, steps=3, patience=3, threshold=0, cost=cost))
    for _ in range(3):
        points = points - 0.1 * hand_gradient(points, TARGETS, cost)
    assert torch.allclose(found.points, points)  # small steps: the last point is the best
    posterior = linear(points).exp().gather(1, TARGETS[:, None]).squeeze(1)
    assert torch.allclose(found.cost, 1 - posterior if cost == "posterior" else -posterior.log())
    assert found.steps.tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize("cost", ["posterior", "log_posterior"])
def test_a_linear_softmax_is_inverted(cost):
    found = invert(linear, torch.zeros(4, 10, dtype=torch.float64), TARGETS, Descent(step_size=0.5, cost=cost))
    posterior = linear(found.points).exp().gather(1, TARGETS[:, None])
    assert (posterior >= 0.99).all()
    assert (found.steps < 1000).all()  # the threshold stopped it


class Scripted:
    """A model of one number per row whose costs follow a script: row by row, call by call."""

    def __init__(self, costs):
        self.costs, self.calls = costs, 0

    def __call__(self, points):
        """Log-posteriors (batch, 2) of the next cost in the script."""
        cost = torch.full((len(points), 1), self.costs[min(self.calls, len(self.costs) - 1)])
        self.calls += 1
        return torch.cat([torch.log1p(-cost), cost.log()], dim=1) + 0 * points  # p_t = 1 - cost


def steps_until_stop(costs, **settings):
    descent = Descent(step_size=1.0, **{"steps": len(costs) - 1, "threshold": 0.0, "patience": 2} | settings)
    found = invert(Scripted(costs), torch.zeros(1, 1), torch.tensor([0]), descent)
    return int(found.steps), float(found.cost)


@pytest.mark.parametrize(
    ("costs", "settings", "steps"),
    [
        # patience 2: c_2 is the first to be compared, with c_1 and c_0, and equality with their maximum stops
        ([0.5, 0.6, 0.6, 0.1], {}, 2),
        ([0.5, 0.6, 0.5999, 0.1], {}, 3),
        ([0.5, 0.9, 0.4, 0.9, 0.1], {}, 3),  # c_3 = max(c_2, c_1)
        ([0.5, 0.9, 0.4, 0.89, 0.1], {}, 4),
        # patience 1: any step that does not improve on the last, the first included
        ([0.5, 0.5, 0.1], {"patience": 1}, 1),
        ([0.5, 0.4999, 0.1], {"patience": 1}, 2),
        # patience as long as the descent looks back to its start, and one longer never stops it
        ([0.5, 0.6, 0.7, 0.7, 0.1], {"patience": 3}, 3),
        ([0.5, 0.6, 0.7, 0.7, 0.1], {"patience": 5}, 4),
        # threshold: equality stops, the start's own cost does not
        ([0.5, 0.25, 0.1], {"threshold": 0.25}, 1),
        ([0.5, 0.25, 0.1], {"threshold": 0.2499}, 2),
        ([0.1, 0.3, 0.1], {"threshold": 0.2}, 2),
        # a first cost near 1, as with many classes, stops nothing
        ([0.998, 0.997, 0.996, 0.995], {"threshold": 0.99}, 3),
    ],
)
def test_stop_rules_at_their_boundaries(costs, settings, steps):
    made, least = steps_until_stop(costs, **settings)
    assert made == steps
    assert least == pytest.approx(min(costs[: steps + 1]), abs=1e-6)  # the best of all, not the last


def test_a_gradient_of_zero_stops_by_patience():
    found = invert(lambda x: linear(0 * x), starts(), TARGETS, Descent(step_size=1.0, patience=5))
    assert found.steps.tolist() == [5] * 4
    assert torch.equal(found.points, starts())


def test_rows_stop_by_themselves():
    descent = Descent(step_size=0.3, steps=200, patience=3, threshold=0.05)
    together = invert(linear, starts(), TARGETS, descent)
    assert len(set(together.steps.tolist())) > 1
    for row in range(4):
        alone = invert(linear, starts()[row : row + 1], TARGETS[row : row + 1], descent)
        assert torch.allclose(together.points[row], alone.points[0])
        assert together.steps[row] == alone.steps[0]


def test_not_a_number_stops_and_is_never_the_best():
    def model(points):
        return linear(points).where(points.abs().sum(dim=-1, keepdim=True) < 20, math.nan)

    found = invert(model, starts(), TARGETS, Descent(step_size=1e3, patience=2))
    assert found.cost.isfinite().all()
    assert torch.equal(found.points, starts())
    assert (found.steps <= 2).all()


def test_sliding_by_whole_windows_is_separate_inversion():
    start, descent = starts(size=50), Descent(step_size=0.2, steps=30)
    slid = sliding_inversion(linear, start, TARGETS, descent, window=10, stride=10)
    windows = [invert(linear, start[:, first : first + 10], TARGETS, descent) for first in range(0, 50, 10)]
    whole = torch.cat([one.points for one in windows], dim=1)
    assert torch.equal(slid.points, whole[:, 5:45])  # half a window less at both ends
    assert torch.equal(slid.steps, sum(one.steps for one in windows))
    assert torch.equal(slid.cost, windows[-1].cost)


def test_sliding_windows_see_what_is_inverted():
    start, descent = starts(size=20), Descent(step_size=0.2, steps=5, patience=5)
    waveform = start.clone()
    for first in (0, 4, 8):  # 12 would reach past the end
        waveform[:, first : first + 10] = invert(linear, waveform[:, first : first + 10], TARGETS, descent).points
    slid = sliding_inversion(linear, start, TARGETS, descent, window=10, stride=4)
    assert torch.equal(slid.points, waveform[:, 5:15])


@pytest.mark.parametrize(("time", "stride", "expected"), [(36, 9, [0, 9, 18, 26]), (39, 10, [0, 10, 20, 29])])
def test_windows_that_end_before_the_result_are_followed_by_a_last_one(time, stride, expected):
    start, descent = starts(size=time), Descent(step_size=0.2, steps=5, patience=5)
    waveform = start.clone()
    for first in expected:
        waveform[:, first : first + 10] = invert(linear, waveform[:, first : first + 10], TARGETS, descent).points
    slid = sliding_inversion(linear, start, TARGETS, descent, window=10, stride=stride)
    assert torch.equal(slid.points, waveform[:, 5 : time - 5])
    assert (slid.points != start[:, 5 : time - 5]).all()


def test_nothing_is_changed_and_no_gradient_is_left():
    model = torch.nn.Sequential(torch.nn.Linear(10, 4), torch.nn.LogSoftmax(dim=-1))
    start = starts().float()
    kept = start.clone()
    with torch.inference_mode():
        found = invert(model, start, TARGETS, Descent(step_size=0.1, steps=2))
    assert torch.equal(start, kept)
    assert not found.points.requires_grad
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step_size": 0.0}, "step_size must be above 0, got 0.0"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"patience": 0}, "patience must be at least 1, got 0"),
        ({"threshold": -1.0}, "threshold must be at least 0, got -1.0"),
        ({"cost": "loss"}, "cost must be posterior or log_posterior, got 'loss'"),
    ],
)
def test_bad_settings(change, message):
    with pytest.raises(ValueError, match=message):
        Descent(**{"step_size": 1.0} | change)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: invert(linear, torch.zeros(10), TARGETS, Descent(1.0)), "start must be floating point"),
        (lambda: invert(linear, starts(), TARGETS[:3], Descent(1.0)), r"targets must be long \(4,\)"),
        (lambda: invert(lambda x: linear(x.detach()), starts(), TARGETS, Descent(1.0)), "model must be differentiable"),
        (
            lambda: invert(lambda x: weighted(x.detach()), starts(), TARGETS, Descent(1.0)),
            "model must be differentiable",
        ),
        (lambda: sliding_inversion(linear, starts(), TARGETS, Descent(1.0), 10, 5), "longer than a window of 10"),
        (lambda: sliding_inversion(linear, starts(), TARGETS, Descent(1.0), 5, 6), r"stride must be in \[1, 5\]"),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
