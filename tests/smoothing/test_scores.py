import numpy as np
import pytest
import torch
from oracles import Turn, random_units
from scipy.stats import binom, norm

from voxcert.smoothing.scores import ScoreTally, score_bounds

RADII = np.array([0.0, 0.3, 1.0, 2.0])
CLAIM = torch.tensor([[0.6, 0.8]], dtype=torch.float64)


def two_valued(num, p, rng):
    """Embeddings +u with probability p, else -u; the score of CLAIM is 0.6 or -0.6."""
    sign = torch.from_numpy(np.where(rng.random(num) < p, 1.0, -1.0))
    return torch.stack([sign, torch.zeros_like(sign)], dim=1)


def statistics_of(selection, samples, prototypes=CLAIM, num_thresholds=64):
    tally = ScoreTally(prototypes, selection, num_thresholds)
    for part in samples.split(100):
        tally.add(part)
    return tally.statistics()


def truth(p):
    """The extreme means of a half-space encoder's score within the radii, reached at the boundary's normal."""
    return (
        0.6 * (2 * norm.cdf(norm.ppf(p) - RADII) - 1),
        0.6 * (2 * norm.cdf(norm.ppf(p) + RADII) - 1),
    )


@pytest.mark.parametrize("p", [0.5, 0.9, 0.99])
def test_mean_of_a_half_space_encoder_is_reached_from_outside(p):
    rng = np.random.default_rng(1)
    statistics = statistics_of(two_valued(2000, p, rng), two_valued(200_000, p, rng))
    lower, upper = score_bounds(statistics, RADII, 1e-3, "embedding")
    low, high = truth(p)
    assert (lower[0] <= low).all()
    assert (upper[0] >= high).all()
    np.testing.assert_allclose(lower[0], low, atol=0.03)
    np.testing.assert_allclose(upper[0], high, atol=0.03)


@pytest.mark.parametrize(("p", "decided"), [(0.99, [0.6, 0.6, 0.6, 0.6]), (0.9, [0.6, 0.6, 0.6, -0.6])])
def test_median_of_a_half_space_encoder_jumps_at_its_radius(p, decided):
    """The median is 0.6 up to Phi^-1(p) = 2.33 or 1.28 sigma."""
    rng = np.random.default_rng(2)
    statistics = statistics_of(two_valued(100, p, rng), two_valued(5000, p, rng))
    lower, upper = score_bounds(statistics, RADII, 1e-3, "vote")
    np.testing.assert_allclose(lower[0], decided, atol=1e-3)
    assert (lower[0] < decided).all()
    np.testing.assert_allclose(upper[0], 0.6, atol=1e-3)
    assert (upper[0] > 0.6 - 1e-12).all()


@pytest.mark.parametrize("classifier", ["embedding", "vote"])
def test_wider_balls_have_wider_bounds_and_claims_do_not_disturb_each_other(classifier):
    embeddings = random_units(700, 8, seed=1).double() * 0.2 + random_units(1, 8).double()
    embeddings = embeddings / embeddings.norm(dim=1, keepdim=True)
    claims = random_units(5, 8, seed=2).double()
    radii = np.linspace(0.0, 3.0, 13)
    lower, upper = score_bounds(statistics_of(embeddings[:100], embeddings[100:], claims), radii, 1e-3, classifier)
    assert lower.shape == upper.shape == (5, 13)
    assert (np.diff(lower, axis=1) <= 0).all()
    assert (np.diff(upper, axis=1) >= 0).all()
    scores = (embeddings[100:] @ claims.T).numpy()
    middle = scores.mean(axis=0) if classifier == "embedding" else np.median(scores, axis=0)
    assert (lower[:, 0] < middle).all()
    assert (middle < upper[:, 0]).all()
    assert (upper - lower)[:, 0].max() < 0.15
    alone = score_bounds(statistics_of(embeddings[:100], embeddings[100:], claims[3:4]), radii, 1e-3, classifier)
    np.testing.assert_allclose(alone[0][0], lower[3], rtol=0, atol=1e-9)
    np.testing.assert_allclose(alone[1][0], upper[3], rtol=0, atol=1e-9)


def test_embeddings_that_never_move_are_known_to_what_n_samples_can_show():
    embeddings = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(1100, 2)
    statistics = statistics_of(embeddings[:100], embeddings[100:])
    lower, upper = score_bounds(statistics, np.array([0.0]), 1e-3, "embedding")
    slack = 1.6 * -np.log(1e-3) / 1000  # they may have been at the far end of [-1, 0.6] that often, and unseen
    assert 0.6 - 1.3 * slack < lower[0, 0] < 0.6 - 0.8 * slack
    assert 0.6 < upper[0, 0] < 0.6 + 1.3 * 0.4 * -np.log(1e-3) / 1000


def test_a_median_bound_is_reached_in_whatever_order_scores_are_summed():
    """Certified at L, a claim is accepted at the threshold L by a program whose cosines are off by rounding."""
    statistics = statistics_of(*(two_valued(n, 0.9, np.random.default_rng(n)) for n in (100, 1000)))
    lower, upper = score_bounds(statistics, np.array([0.0]), 1e-3, "vote")
    thresholds = statistics.forecast.thresholds
    assert 1e-13 < np.abs(thresholds[0] - lower[0, 0]).min() < 1e-11
    assert thresholds[0][thresholds[0] > lower[0, 0]].min() - lower[0, 0] < 1e-11, "rounded down"
    assert upper[0, 0] - (-thresholds[1])[-thresholds[1] < upper[0, 0]].max() < 1e-11, "rounded up"


def test_prototypes_whose_norm_is_off_have_scores_in_the_range_of_cosines():
    prototype = torch.tensor([[1.0005, 0.0]], dtype=torch.float64)
    opposite = torch.tensor([[-1.0, 0.0]], dtype=torch.float64).expand(50, 2)
    assert statistics_of(opposite, opposite, prototype).means == -1.0


def test_numbers_that_are_not_finite_are_seen():
    embeddings = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(20, 2)
    assert statistics_of(embeddings, embeddings).finite
    assert not statistics_of(embeddings, torch.cat([embeddings, embeddings[:1] * torch.nan])).finite


ALPHA = 0.05


def compatible(violations, trials):
    return violations <= binom.ppf(1 - 1e-4, trials, ALPHA)


def wrong_bounds(classifier, trials, draw, low, high, num_samples=200, num_thresholds=16):
    """How many of the trials have a lower bound above the truth, or an upper one below, at each radius."""
    wrong = np.zeros((2, len(RADII)), dtype=int)
    for _ in range(trials):
        statistics = statistics_of(draw(30), draw(num_samples), num_thresholds=num_thresholds)
        lower, upper = score_bounds(statistics, RADII, ALPHA, classifier)
        wrong += np.stack([lower[0] > low, upper[0] < high])
    return wrong


def half_space_case(classifier, p):
    low, high = truth(p)
    if classifier == "vote":
        low, high = np.where(norm.ppf(p) > RADII, 0.6, -0.6), np.where(norm.ppf(p) > -RADII, 0.6, -0.6)
    rng = np.random.default_rng(3)
    return (lambda n: two_valued(n, p, rng)), low, high


@pytest.mark.parametrize("p", [0.4, 0.9])
@pytest.mark.parametrize("classifier", ["embedding", "vote"])
def test_coverage(classifier, p):
    wrong = wrong_bounds(classifier, 150, *half_space_case(classifier, p))
    assert compatible(wrong.max(), 150)


@pytest.mark.slow
@pytest.mark.parametrize("p", [0.05, 0.3, 0.51, 0.7, 0.85, 0.98])
@pytest.mark.parametrize("classifier", ["embedding", "vote"])
def test_coverage_thousands_of_times(classifier, p):
    wrong = wrong_bounds(classifier, 2000, *half_space_case(classifier, p))
    assert compatible(wrong.max(), 2000)


def turning(start, classifier):
    """A soft encoder at w.x = start, sigma 1: draws, and the extreme smoothed scores of CLAIM along w."""
    encoder, rng = Turn(slope=25.0, limit=80.0, dim=1), np.random.default_rng(4)
    directions = CLAIM.numpy()
    if classifier == "embedding":  # the score rises with the angle up to 53 degrees only: look everywhere between
        inside = [start + radius * np.linspace(-1, 1, 201) for radius in RADII]
        values = [encoder.margins(points, 1.0, directions)[:, 0] for points in inside]
        low, high = np.array([v.min() for v in values]), np.array([v.max() for v in values])
    else:
        z = np.linspace(-6, 6, 4001)
        weights = norm.pdf(z)

        def median(s):
            scores = encoder(torch.from_numpy(s + z)[:, None].float()).double().numpy() @ directions[0]
            order = scores.argsort()
            return scores[order][(weights[order].cumsum() >= weights.sum() / 2).argmax()]

        inside = [start + radius * np.linspace(-1, 1, 41) for radius in RADII]
        values = [[median(s) for s in points] for points in inside]
        low, high = np.array([min(v) for v in values]), np.array([max(v) for v in values])
    return (lambda n: encoder(torch.from_numpy(start + rng.standard_normal((n, 1))).float()).double()), low, high


@pytest.mark.parametrize("classifier", ["embedding", "vote"])
def test_coverage_of_soft_encoders(classifier):
    draw, low, high = turning(0.5, classifier)
    wrong = wrong_bounds(classifier, 150, draw, low - 1e-3, high + 1e-3, num_thresholds=32)
    assert compatible(wrong.max(), 150)


def test_bounds_without_their_slack_are_rejected():
    """The check above can fail: plain sample means cover half of the time."""
    draw, low, _ = half_space_case("embedding", 0.9)
    broken = sum(float((draw(200) @ CLAIM.T).mean()) > low[0] for _ in range(150))
    assert not compatible(broken, 150)
