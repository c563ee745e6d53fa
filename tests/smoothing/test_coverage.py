"""Certificates against a known truth: the share that claims too much must be compatible with alpha.

Every check is also run on something deliberately broken, which it must reject: so it has the power to see an error.
"""

import numpy as np
import pytest
import torch
from oracles import RIVALS, SOUND_RULES, HalfSpace, random_units, statistics_of
from scipy.stats import binom, norm

from voxcert.smoothing import RULES, Certifier
from voxcert.smoothing.bounds import clopper_pearson_lower, hoeffding_radius, spend
from voxcert.smoothing.rules import exceedance_bounds, mean_bounds

ALPHA = 0.05


def compatible(violations: int, trials: int) -> bool:
    """Whether so many violations are likely (1 in 10,000 false alarms) if each has probability ALPHA at most."""
    return violations <= binom.ppf(1 - 1e-4, trials, ALPHA)


def coin_flip_claims(rule, shares, trials, seed=0):
    """How often a rule claims a positive radius for f = +-u with equal mass, where no radius is right."""
    rng = np.random.default_rng(seed)
    num_samples = 100
    ends = [num_samples >> (len(shares) - 1 - look) for look in range(len(shares))]
    claims = 0
    for _ in range(trials):
        xi = np.where(rng.random((num_samples, 1)) < 0.5, 1.0, -1.0)
        looks = [statistics_of(xi[:end], np.array([[-0.9999, 0.9999]])) for end in ends]
        claims += any(rule(look, share) > 0 for look, share in zip(looks, shares, strict=True))
    return claims


@pytest.mark.parametrize("num_looks", [1, 4])
@pytest.mark.parametrize("rule", SOUND_RULES)
def test_worst_case_for_range_bounds(rule, num_looks):
    assert compatible(coin_flip_claims(RULES[rule], spend(ALPHA, num_looks), 2000), 2000)


@pytest.mark.parametrize("rule", SOUND_RULES)
def test_a_rule_without_its_bound_is_rejected(rule):
    broken = lambda statistics, alpha: RULES[rule](statistics, None)  # noqa: E731
    assert not compatible(coin_flip_claims(broken, [ALPHA], 1000), 1000)


def test_full_alpha_at_every_look_is_rejected():
    assert not compatible(coin_flip_claims(RULES["vote"], [ALPHA] * 6, 2000), 2000)


def test_hoeffding_with_half_the_range_is_rejected():
    broken = lambda statistics, alpha: statistics.xi_mean.min() - hoeffding_radius(100, alpha, 1.0)  # noqa: E731
    assert not compatible(coin_flip_claims(broken, [ALPHA], 2000), 2000)


def many_rivals(bounds, num_rivals, trials, same=False):
    """How often a bound on any P(xi_k > t) or E xi_k is too high, for uniform xi that are independent or the same."""
    rng = np.random.default_rng(3)
    thresholds = np.tile([-0.9, -0.5, 0.0, 0.7], (num_rivals, 1))
    violations = 0
    for _ in range(trials):
        xi = rng.uniform(-1, 1, (100, 1 if same else num_rivals)) * np.ones((1, num_rivals))
        violations += bounds(statistics_of(xi, thresholds))
    return violations


def too_high(bound, truth) -> bool:
    return bool((bound > truth).any())


EXCEEDED = np.array([0.95, 0.75, 0.5, 0.15])


@pytest.mark.parametrize("num_rivals", [1, 3, 60, 999])
@pytest.mark.parametrize("same", [True, False])
def test_all_rivals_and_thresholds_hold_at_once(num_rivals, same):
    trials = 200 if num_rivals > 100 else 1000
    both = lambda s: (too_high(exceedance_bounds(s, ALPHA), EXCEEDED), too_high(mean_bounds(s, ALPHA), 0.0))  # noqa: E731
    for which in (0, 1):
        violations = many_rivals(lambda s, which=which: both(s)[which], num_rivals, trials, same)
        assert compatible(violations, trials)


def test_bounds_without_the_union_over_rivals_are_rejected():
    exceeded = lambda s: too_high(clopper_pearson_lower(s.exceedances, 100, ALPHA / 4), EXCEEDED)  # noqa: E731
    means = lambda s: too_high(s.xi_mean - 2 * hoeffding_radius(100, 0.4), 0.0)  # noqa: E731
    assert not compatible(many_rivals(exceeded, 60, 300), 300)
    assert not compatible(many_rivals(means, 60, 300), 300)


class Jump:
    """f = u where x_0 > 0, else v: a switch between two embeddings among K prototypes."""

    def __init__(self, u: torch.Tensor, v: torch.Tensor) -> None:
        self.u, self.v = u, v

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
        """Embeddings (batch, dim)."""
        return torch.where(waveform[:, :1] > 0, self.u, self.v)

    def truth(self, start: float, sigma: float, prototypes: torch.Tensor) -> tuple[int, float]:
        """Class of the smoothed embedding at x_0 = start > 0, and how far it is to the nearest other class."""
        mass = norm.cdf(start / sigma)
        high, low = (prototypes.double() @ v.double() for v in (self.u, self.v))
        predicted = int((mass * high + (1 - mass) * low).argmax())
        a, b = high[predicted] - high, low[predicted] - low  # a rival wins where m a + (1 - m) b < 0
        flips = (-b / (a - b))[(a > 0) & (b < 0)]
        return predicted, start - sigma * norm.ppf(float(flips.max())) if len(flips) else np.inf


def violations_of(certifier, waveform, trials, truth):
    """How many certificates of each rule name the wrong class or a radius beyond the truth."""
    counts = dict.fromkeys(certifier.rules, 0)
    for trial in range(trials):
        for row in certifier.certify(waveform, f"trial {trial}"):
            right, radius = truth["vote" if row.rule == "vote" else "embedding"]
            if row.abstained is None and (row.prediction != str(right) or row.radius > radius):
                counts[row.rule] += 1
    return counts


def certifier_for(encoder, prototypes, num_looks=1, **changes):
    settings = {"sigma": 1.0, "alpha": ALPHA, "num_select": 10, "num_estimate": 120, "batch_size": 120}
    return Certifier(encoder, prototypes, rules=SOUND_RULES, num_looks=num_looks, tolerance=0.0, **settings | changes)


@pytest.mark.parametrize("num_looks", [1, 4])
@pytest.mark.parametrize("distance", [0.0, 0.5])
def test_half_space_end_to_end(num_looks, distance):
    encoder = HalfSpace(torch.tensor([2.0]))
    truth = {"vote": (0, distance), "embedding": (0, distance)}
    certifier = certifier_for(encoder, RIVALS, num_looks)
    counts = violations_of(certifier, torch.tensor([distance]), 400, truth)
    assert all(compatible(count, 400) for count in counts.values()), counts


def test_a_certifier_that_reuses_its_selection_samples_is_rejected(monkeypatch):
    """Select and estimate on the same 18 coin flips: whichever side has 13 is certified, though neither wins."""
    monkeypatch.setattr("voxcert.smoothing.certifier.ESTIMATE_START", 0)
    certifier = certifier_for(HalfSpace(torch.tensor([1.0])), RIVALS, num_select=18, num_estimate=18)
    truth = {"vote": (0, 0.0), "embedding": (0, 0.0)}
    assert not compatible(violations_of(certifier, torch.zeros(1), 800, truth)["vote"], 800)


@pytest.mark.parametrize(("num_speakers", "num_looks", "trials"), [(3, 1, 200), (50, 4, 200), (1000, 1, 60)])
def test_many_speakers_end_to_end(num_speakers, num_looks, trials):
    prototypes = random_units(num_speakers, 8, seed=num_speakers)
    near = 0.8 * prototypes[0] + 0.2 * random_units(2, 8, seed=7)[0]
    encoder = Jump(near / near.norm(), prototypes[1])
    predicted, radius = encoder.truth(1.0, 1.0, prototypes)
    assert 0 < radius < 1.0
    truth = {"vote": (int((prototypes @ encoder.u).argmax()), 1.0), "embedding": (predicted, radius)}
    certifier = certifier_for(encoder, prototypes, num_looks, num_estimate=400, batch_size=400)
    counts = violations_of(certifier, torch.ones(1), trials, truth)
    assert all(compatible(count, trials) for count in counts.values()), counts


@pytest.mark.slow
@pytest.mark.parametrize("num_looks", [1, 4])
@pytest.mark.parametrize("distance", [0.0, 0.3, 1.0])
def test_half_space_end_to_end_with_thousands_of_certificates(num_looks, distance):
    encoder = HalfSpace(torch.tensor([2.0]))
    truth = {"vote": (0, distance), "embedding": (0, distance)}
    counts = violations_of(certifier_for(encoder, RIVALS, num_looks), torch.tensor([distance]), 5000, truth)
    assert all(compatible(count, 5000) for count in counts.values()), counts
