import numpy as np
import pytest
import torch
from oracles import RIVALS, HalfSpace
from scipy.stats import binom, norm

from voxcert.smoothing import ScoreCertifier
from voxcert.smoothing.claims import MeanTest, MedianTest, decided

WEIGHT = torch.tensor([0.6, 0.8, 0.0, 0.0])
ALPHA = 0.05


def certifier(**options):
    settings = {"sigma": 0.5, "num_estimate": 2000, "batch_size": 50, "num_select": 10}
    return ScoreCertifier(HalfSpace(WEIGHT), RIVALS, ["u", "minus u"], **settings | options)


@pytest.mark.parametrize("verifier", ["embedding", "vote"])
def test_clear_claims_are_answered_after_few_samples(verifier):
    far = WEIGHT * 1.5  # 3 sigma from the boundary
    accepted = certifier().decide(far, "u", 0.5, verifier=verifier)
    assert accepted.accepted is True
    assert accepted.abstained is None
    assert accepted.score > 0.9
    assert accepted.num_forwards <= 100
    rejected = certifier().decide(far, "minus u", -0.5, verifier=verifier)
    assert rejected.accepted is False


def test_a_score_at_the_threshold_is_not_answered():
    """E s = 2 Phi(1) - 1 for the mean; at the boundary half of the copies reach any threshold."""
    mean = certifier().decide(WEIGHT * 0.5, "u", 2 * norm.cdf(1) - 1, verifier="embedding")
    assert (mean.accepted, mean.num_forwards) == (None, 2000)
    assert "neither" in mean.abstained
    assert certifier().decide(WEIGHT * 0.0, "u", 0.3, verifier="vote").accepted is None


def test_within_a_certified_radius_the_answer_is_the_certified_one_or_none():
    row = certifier(num_estimate=20_000, batch_size=2000).verify(WEIGHT * 0.6, [0.3], ["u"], verifiers=["embedding"])[0]
    threshold = row.lower[0]
    for seed in range(5):
        answer = certifier(seed=seed).decide(WEIGHT * 0.301, "u", threshold - 0.2, verifier="embedding")
        assert answer.accepted is True
        assert certifier(seed=seed).decide(WEIGHT * 0.301, "u", threshold, verifier="embedding").accepted is not False


def wrong_answers(test, draw, wrong, trials):
    """How often a test ends with the wrong answer, looking after every ten of 500 samples."""
    count = 0
    for _ in range(trials):
        one = test()
        for _ in range(50):
            one.add(draw(10)[:, None])
            if (answer := one.answer(ALPHA)) is not None:
                count += answer == wrong
                break
    return count


@pytest.mark.parametrize("p", [0.5, 0.45])
def test_coverage_of_the_median(p):
    """At most half reach the threshold: the smoothed verifier rejects."""
    rng = np.random.default_rng(0)
    count = wrong_answers(lambda: MedianTest(0.0), lambda n: np.where(rng.random(n) < p, 1.0, -1.0), True, 400)
    assert count <= binom.ppf(1 - 1e-4, 400, ALPHA)


@pytest.mark.parametrize("spread", [0.05, 0.4])
def test_coverage_of_the_mean(spread):
    rng = np.random.default_rng(1)
    draw = lambda n: 0.3 + rng.uniform(-spread, spread, n)  # noqa: E731
    accepted = wrong_answers(lambda: MeanTest(0.3 + 1e-9), draw, True, 400)
    rejected = wrong_answers(lambda: MeanTest(0.3), draw, False, 400)
    assert max(accepted, rejected) <= binom.ppf(1 - 1e-4, 400, ALPHA)


def test_answers_without_betting_are_rejected():
    """The checks above can fail: a plain majority after ten samples is wrong half of the time."""

    class Plain(MedianTest):
        def answer(self, alpha):
            return bool(self._counts[0, 1] > self._counts[0, 0])

    rng = np.random.default_rng(2)
    count = wrong_answers(lambda: Plain(0.0), lambda n: np.where(rng.random(n) < 0.5, 1.0, -1.0), True, 400)
    assert count > binom.ppf(1 - 1e-4, 400, ALPHA)


def test_what_is_no_waveform_is_refused():
    with pytest.raises(ValueError, match="waveform must be a tensor"):
        certifier().decide([0.0, 1.0], "u", 0.5)


def test_unusable_samples_are_not_answered():
    prototype = torch.tensor([1.0, 0.0], dtype=torch.float64)
    broken = [prototype.expand(5, 2), prototype.expand(5, 2) * torch.nan]
    assert decided(broken, prototype, 0.999, "embedding", 1e-9) == (None, "non-finite or zero embeddings", 0.0, 10)


@pytest.mark.parametrize(
    ("claim", "threshold", "verifier", "message"),
    [
        ("x", 0.5, "vote", "claim must be an enrolled speaker, got 'x'"),
        ("u", 1.0, "vote", r"threshold must be in \(-1, 1\), got 1.0"),
        ("u", "0.5", "vote", r"threshold must be in \(-1, 1\), got '0.5'"),
        ("u", 0.5, "mean", r"verifier must be one of \['embedding', 'vote'\], got 'mean'"),
    ],
)
def test_refuses(claim, threshold, verifier, message):
    with pytest.raises(ValueError, match=message):
        certifier().decide(WEIGHT, claim, threshold, verifier=verifier)
