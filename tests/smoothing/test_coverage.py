"""Certificates against a known truth: the share that claims too much must be compatible with alpha.

Every check is also run on something deliberately broken, which it must reject: so it has the power to see an error.
"""

import numpy as np
import pytest
import torch
from oracles import RIVALS, SOUND_RULES, HalfSpace, Turn, pilot_of, random_units, statistics_of, two_valued, unit
from scipy.stats import binom, norm

from voxcert.smoothing import RULES, Certifier
from voxcert.smoothing.bounds import clopper_pearson_lower
from voxcert.smoothing.plug_in import plug_in_radius

ALPHA = 0.05


def compatible(violations: int, trials: int) -> bool:
    """Whether so many violations are likely (1 in 10,000 false alarms) if each has probability ALPHA at most."""
    return violations <= binom.ppf(1 - 1e-4, trials, ALPHA)


def looks_of(pilot, xi, num_looks):
    """Statistics after n / 2^j samples, as the certifier looks at them."""
    n = len(xi)
    ends = [n >> (num_looks - 1 - look) for look in range(num_looks)]
    return [statistics_of(pilot, xi[:end], num_planned=n, num_looks=num_looks) for end in ends]


def two_valued_claims(rule, p, trials, *, num_rivals=1, num_looks=1, num_samples=100, seed=0):
    """How often a radius beyond the truth Phi^-1(p) is claimed at any look, for f = +-u."""
    rng = np.random.default_rng(seed)
    truth = max(norm.ppf(p), 0.0)
    claims = 0
    for _ in range(trials):
        pilot = pilot_of(two_valued(20, p, rng, num_rivals), 16)
        looks = looks_of(pilot, two_valued(num_samples, p, rng, num_rivals), num_looks)
        claims += any(rule(look, ALPHA) > truth for look in looks)
    return claims


WORST = [0.5, 0.52, 0.75, 0.95, 0.999]
"""Equal mass is the worst case for range bounds; near 1 hardly any sample ever fails."""


@pytest.mark.parametrize("num_looks", [1, 5])
@pytest.mark.parametrize("p", [0.5, 0.95])
@pytest.mark.parametrize("rule", SOUND_RULES)
def test_two_values(rule, p, num_looks):
    assert compatible(two_valued_claims(RULES[rule], p, 150, num_looks=num_looks), 150)


@pytest.mark.slow
@pytest.mark.parametrize("num_looks", [1, 5])
@pytest.mark.parametrize("p", WORST)
@pytest.mark.parametrize("rule", SOUND_RULES)
def test_two_values_thousands_of_times(rule, p, num_looks):
    assert compatible(two_valued_claims(RULES[rule], p, 3000, num_looks=num_looks, seed=1), 3000)


@pytest.mark.parametrize("num_rivals", [1, 2, 49])
@pytest.mark.parametrize("rule", ["mean", "distribution"])
def test_equal_rivals(rule, num_rivals):
    """The minimum over rivals spends no alpha, and yet holds."""
    assert compatible(two_valued_claims(RULES[rule], 0.5, 150, num_rivals=num_rivals), 150)


@pytest.mark.slow
@pytest.mark.parametrize(("num_rivals", "trials"), [(1, 4000), (2, 4000), (49, 3000), (4999, 200)])
@pytest.mark.parametrize("num_looks", [1, 5])
@pytest.mark.parametrize("rule", ["mean", "distribution"])
def test_equal_rivals_thousands_of_times(rule, num_rivals, trials, num_looks):
    claims = two_valued_claims(RULES[rule], 0.5, trials, num_rivals=num_rivals, num_looks=num_looks, seed=2)
    assert compatible(claims, trials)


@pytest.mark.parametrize("rule", SOUND_RULES)
def test_a_rule_without_its_bound_is_rejected(rule):
    broken = lambda statistics, alpha: plug_in_radius(rule, statistics)[0]  # noqa: E731
    assert not compatible(two_valued_claims(broken, 0.5, 300), 300)


def test_clopper_pearson_at_every_look_is_rejected():
    def broken(statistics, alpha):
        return norm.ppf(clopper_pearson_lower(int(statistics.vote_counts[0]), statistics.num_samples, alpha))

    assert not compatible(two_valued_claims(broken, 0.5, 1000, num_looks=6), 1000)


def soft_claims(rule, trials, spread, *, num_looks=1, num_rivals=1, num_samples=200):
    """How often E xi = 0 is claimed to be positive, for xi that are Gaussian, uniform or of three values."""
    rng = np.random.default_rng(5)
    draws = (
        lambda n: rng.normal(0, spread, (n, num_rivals)),
        lambda n: rng.uniform(-spread, spread, (n, num_rivals)),
        lambda n: spread * rng.choice([-0.9, 0.0, 0.1], p=[0.1, 0.0, 0.9], size=(n, num_rivals)),
    )
    claims = 0
    for trial in range(trials):
        draw = draws[trial % 3]
        looks = looks_of(pilot_of(draw(50).clip(-1, 1), 24), draw(num_samples).clip(-1, 1), num_looks)
        claims += any(rule(look, ALPHA) > 0 for look in looks)
    return claims


@pytest.mark.parametrize("spread", [0.02, 0.5])
@pytest.mark.parametrize("rule", ["mean", "distribution"])
def test_rivals_at_the_boundary(rule, spread):
    assert compatible(soft_claims(RULES[rule], 250, spread), 250)


@pytest.mark.slow
@pytest.mark.parametrize("num_looks", [1, 5])
@pytest.mark.parametrize("spread", [0.02, 0.2, 1.0])
@pytest.mark.parametrize("rule", ["mean", "lipschitz", "distribution"])
def test_rivals_at_the_boundary_thousands_of_times(rule, spread, num_looks):
    assert compatible(soft_claims(RULES[rule], 3000, spread, num_looks=num_looks), 3000)


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


@pytest.mark.parametrize("num_looks", [1, 5])
@pytest.mark.parametrize("distance", [0.0, 0.5])
def test_half_space_end_to_end(num_looks, distance):
    truth = {"vote": (0, distance), "embedding": (0, distance)}
    certifier = certifier_for(HalfSpace(torch.tensor([2.0])), RIVALS, num_looks)
    counts = violations_of(certifier, torch.tensor([distance]), 80, truth)
    assert all(compatible(count, 80) for count in counts.values()), counts


def test_a_certifier_that_reuses_its_selection_samples_is_rejected(monkeypatch):
    """Select and estimate on the same 18 coin flips: whichever side has 13 is certified, though neither wins."""
    monkeypatch.setattr("voxcert.smoothing.certifier.ESTIMATE_START", 0)
    certifier = certifier_for(HalfSpace(torch.tensor([1.0])), RIVALS, num_select=18, num_estimate=18, batch_size=18)
    certifier.rules = ("vote",)
    truth = {"vote": (0, 0.0), "embedding": (0, 0.0)}
    assert not compatible(violations_of(certifier, torch.zeros(1), 800, truth)["vote"], 800)


def many_speakers(num_speakers, num_looks, trials):
    prototypes = random_units(num_speakers, 8, seed=num_speakers)
    near = 0.8 * prototypes[0] + 0.2 * random_units(2, 8, seed=7)[0]
    encoder = Jump(near / near.norm(), prototypes[1])
    predicted, radius = encoder.truth(1.0, 1.0, prototypes)
    assert 0 < radius < 1.0
    truth = {"vote": (int((prototypes @ encoder.u).argmax()), 1.0), "embedding": (predicted, radius)}
    certifier = certifier_for(encoder, prototypes, num_looks, num_estimate=400, batch_size=400)
    counts = violations_of(certifier, torch.ones(1), trials, truth)
    assert all(compatible(count, trials) for count in counts.values()), counts


@pytest.mark.parametrize(("num_speakers", "num_looks", "trials"), [(3, 1, 60), (50, 5, 20), (1000, 1, 10)])
def test_many_speakers_end_to_end(num_speakers, num_looks, trials):
    many_speakers(num_speakers, num_looks, trials)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_speakers", "num_looks", "trials"), [(3, 1, 2000), (3, 5, 2000), (50, 1, 2000), (50, 5, 1000), (5000, 1, 60)]
)
def test_many_speakers_end_to_end_thousands_of_times(num_speakers, num_looks, trials):
    many_speakers(num_speakers, num_looks, trials)


@pytest.mark.slow
@pytest.mark.parametrize("num_looks", [1, 5])
@pytest.mark.parametrize(("slope", "offset"), [(40.0, 0.05), (120.0, 0.05), (2000.0, 0.3)])
def test_soft_encoders_end_to_end(slope, offset, num_looks):
    prototypes = np.stack([unit(60), unit(-60), unit(-75)])
    encoder = Turn(slope, 70.0)
    truth = encoder.embedding_radius(offset, 0.5, prototypes, predicted=0)
    certifier = certifier_for(encoder, torch.tensor(prototypes, dtype=torch.float32), num_looks, sigma=0.5)
    certifier.rules = ("mean", "lipschitz", "distribution")
    counts = violations_of(certifier, offset * encoder.weight, 2000, {"embedding": (0, truth)})
    assert all(compatible(count, 2000) for count in counts.values()), counts


@pytest.mark.slow
@pytest.mark.parametrize("num_looks", [1, 5])
@pytest.mark.parametrize("distance", [0.0, 0.3, 1.0])
def test_half_space_end_to_end_with_thousands_of_certificates(num_looks, distance):
    encoder = HalfSpace(torch.tensor([2.0]))
    truth = {"vote": (0, distance), "embedding": (0, distance)}
    counts = violations_of(certifier_for(encoder, RIVALS, num_looks), torch.tensor([distance]), 5000, truth)
    assert all(compatible(count, 5000) for count in counts.values()), counts
