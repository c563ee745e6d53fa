"""Certificates against a known truth: the share that claims too much must be compatible with alpha.

Every check is also run on something deliberately broken, which it must reject: so it has the power to see an error.
"""

import numpy as np
import pytest
import torch
from oracles import RIVALS, SOUND_RULES, HalfSpace, Turn, pilot_of, random_units, statistics_of, unit
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


def outcomes(num_samples, p, neglected=1e-6):
    """Numbers of heads of coins with their probabilities, but for the unlikeliest on either side."""
    low, high = (int(binom.ppf(q, num_samples, p)) for q in (neglected, 1 - neglected))
    heads = np.arange(low, high + 1)
    return zip(heads.tolist(), binom.pmf(heads, num_samples, p).tolist(), strict=True)


def signs(num_samples, heads, num_rivals):
    """Samples of xi for f = +-u, the same for all rivals: first the +1, then the -1."""
    return np.where(np.arange(num_samples)[:, None] < heads, 1.0, -1.0) * np.ones((1, num_rivals))


def claim_probability(rule, p, *, num_rivals=1, num_looks=1, num_samples=100, num_select=20):
    """Probability that a radius beyond the truth Phi^-1(p) is claimed at any look, for f = +-u.

    No simulation: a certificate knows the selection samples and those of a look by their numbers of +1, so all
    outcomes are added up. The unlikeliest, some 10^-5 together, are left out.
    """
    truth, claimed = max(norm.ppf(p), 0.0), 0.0
    ends = [num_samples >> (num_looks - 1 - look) for look in range(num_looks)]
    for selected, probability in outcomes(num_select, p):
        pilot = pilot_of(signs(num_select, selected, num_rivals), 16)
        silent, last = {0: probability}, 0  # where no claim was made so far: heads -> probability
        for end in ends:
            reached: dict[int, float] = {}
            steps = list(outcomes(end - last, p))
            for heads, mass in silent.items():
                for more, share in steps:
                    reached[heads + more] = reached.get(heads + more, 0.0) + mass * share
            silent, last = {}, end
            for heads, mass in reached.items():
                if mass < 1e-8:
                    continue
                look = statistics_of(pilot, signs(end, heads, num_rivals), num_planned=num_samples, num_looks=num_looks)
                if rule(look, ALPHA) > truth:
                    claimed += mass
                else:
                    silent[heads] = mass
    return claimed


WORST = [0.5, 0.52, 0.75, 0.95, 0.999]
"""Equal mass is the worst case for range bounds; near 1 hardly any sample ever fails."""


@pytest.mark.parametrize("num_looks", [1, 5])
@pytest.mark.parametrize("p", [0.5, 0.95])
@pytest.mark.parametrize("rule", SOUND_RULES)
def test_two_values(rule, p, num_looks):
    assert claim_probability(RULES[rule], p, num_looks=num_looks, num_samples=40, num_select=6) <= ALPHA


@pytest.mark.slow
@pytest.mark.parametrize("num_looks", [1, 5])
@pytest.mark.parametrize("p", WORST)
@pytest.mark.parametrize("rule", SOUND_RULES)
def test_two_values_more_often(rule, p, num_looks):
    assert claim_probability(RULES[rule], p, num_looks=num_looks, num_samples=200) <= ALPHA


@pytest.mark.parametrize("rule", ["mean", "distribution"])
def test_equal_rivals(rule):
    """The minimum over rivals spends no alpha, and yet holds: as likely to be wrong as with one rival, and no more."""
    one, two, many = (
        claim_probability(RULES[rule], 0.5, num_rivals=k, num_samples=30, num_select=4) for k in (1, 2, 49)
    )
    assert 0 < one == two == many <= ALPHA


@pytest.mark.slow
@pytest.mark.parametrize("num_rivals", [1, 2, 49, 4999])
@pytest.mark.parametrize("num_looks", [1, 5])
@pytest.mark.parametrize("rule", ["mean", "lipschitz", "distribution"])
def test_equal_rivals_more_often(rule, num_looks, num_rivals):
    settings = {"num_samples": 32, "num_select": 4} if num_rivals > 1000 else {}
    claimed = claim_probability(RULES[rule], 0.5, num_rivals=num_rivals, num_looks=num_looks, **settings)
    assert claimed <= ALPHA


@pytest.mark.parametrize("rule", SOUND_RULES)
def test_a_rule_without_its_bound_is_rejected(rule):
    broken = lambda statistics, alpha: plug_in_radius(rule, statistics)[0]  # noqa: E731
    assert claim_probability(broken, 0.5, num_samples=40, num_select=6) > 2 * ALPHA


def test_clopper_pearson_at_every_look_is_rejected():
    def broken(statistics, alpha):
        return norm.ppf(clopper_pearson_lower(int(statistics.vote_counts[0]), statistics.num_samples, alpha))

    assert claim_probability(broken, 0.5, num_looks=1, num_select=2) <= ALPHA
    assert claim_probability(broken, 0.5, num_looks=6, num_select=2) > 1.5 * ALPHA


def soft_claims(rules, trials, spread, *, num_looks=1, num_rivals=1, num_samples=200):
    """How often each rule claims E xi = 0 to be positive, for xi that are Gaussian, uniform or of two values."""
    rng = np.random.default_rng(5)
    draws = (
        lambda n: rng.normal(0, spread, (n, num_rivals)),
        lambda n: rng.uniform(-spread, spread, (n, num_rivals)),
        lambda n: spread * rng.choice([-0.9, 0.1], p=[0.1, 0.9], size=(n, num_rivals)),
    )
    claims = dict.fromkeys(rules, 0)
    for trial in range(trials):
        draw = draws[trial % 3]
        looks = looks_of(pilot_of(draw(50).clip(-1, 1), 24), draw(num_samples).clip(-1, 1), num_looks)
        for rule in rules:
            claims[rule] += any(RULES[rule](look, ALPHA) > 0 for look in looks)
    return claims


@pytest.mark.parametrize("spread", [0.02, 0.5])
def test_rivals_at_the_boundary(spread):
    claims = soft_claims(("mean", "distribution"), 250, spread)
    assert all(compatible(count, 250) for count in claims.values()), claims


@pytest.mark.slow
@pytest.mark.parametrize("num_looks", [1, 5])
@pytest.mark.parametrize("spread", [0.02, 0.2, 1.0])
def test_rivals_at_the_boundary_thousands_of_times(spread, num_looks):
    """`lipschitz` claims something where `mean` does."""
    claims = soft_claims(("mean", "distribution"), 3000, spread, num_looks=num_looks)
    assert all(compatible(count, 3000) for count in claims.values()), claims


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


@pytest.fixture
def memory(monkeypatch):
    """Rules that know equal statistics again: of encoders with two values, few of thousands differ."""
    for name, rule in RULES.items():
        monkeypatch.setitem(RULES, name, remembered(rule))


def remembered(rule):
    """The same function, computed once for equal arguments."""
    known: dict[str, float] = {}

    def recall(statistics, alpha):
        key = f"{alpha} {statistics.to_dict()}"
        if key not in known:
            known[key] = rule(statistics, alpha)
        return known[key]

    return recall


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
    ("num_speakers", "num_looks", "trials"), [(3, 1, 1000), (3, 5, 1000), (50, 1, 1000), (50, 5, 1000), (5000, 1, 60)]
)
def test_many_speakers_end_to_end_thousands_of_times(num_speakers, num_looks, trials, memory):
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
    counts = violations_of(certifier, offset * encoder.weight, 1000, {"embedding": (0, truth)})
    assert all(compatible(count, 1000) for count in counts.values()), counts


@pytest.mark.slow
@pytest.mark.parametrize("num_looks", [1, 5])
@pytest.mark.parametrize("distance", [0.0, 0.3, 1.0])
def test_half_space_end_to_end_with_thousands_of_certificates(num_looks, distance, memory):
    encoder = HalfSpace(torch.tensor([2.0]))
    truth = {"vote": (0, distance), "embedding": (0, distance)}
    counts = violations_of(certifier_for(encoder, RIVALS, num_looks), torch.tensor([distance]), 1500, truth)
    assert all(compatible(count, 1500) for count in counts.values()), counts
