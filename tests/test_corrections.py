"""What docs/corrections.md says of the papers: each line names a test, and those that no module has are here."""

import ast
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import beta, norm

from voxcert.attacks import from_int16, norms, pgd
from voxcert.encoders import KaldiFbank
from voxcert.evaluation.certification.tables import by_rule
from voxcert.purifiers.schedule import PurificationScheduler
from voxcert.rows import read_rows
from voxcert.smoothing import Certificate
from voxcert.training.generator_losses import norm_loss

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "corrections.md").read_text()


def test_every_line_of_the_table_names_a_test_that_exists():
    lines = re.findall(r"^\| \d+ \|.*$", PAGE, flags=re.MULTILINE)
    assert len(lines) >= 15
    for line in lines:
        named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", line)
        assert named, line
        for path, function in named:
            tree = ast.parse((ROOT / path).read_text())
            functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            assert not function or function in functions, f"{path} has no {function}"


def test_the_released_half_width_fails_often():
    """Two-valued embeddings at +-(c1 - c2)/|c1 - c2|: the true phi is 1/2, and no radius is right."""
    alpha, n, distance = 1e-3, 10_000, 1.2
    generator = np.random.default_rng(0)
    mean = generator.binomial(n, 0.5, size=20_000) / n - 0.5  # of values +-1/2
    released = math.sqrt(math.log(2 / alpha) / (4**2 / 2 * n)) / (2 * distance)
    printed = math.sqrt(math.log(2 / alpha) / (2 * n))  # eq. (16), N = n / 2
    assert 0.18 < (mean > released).mean() < 0.24
    assert (mean > printed).mean() <= alpha


def test_products_of_samples_are_not_independent():
    """The product of two sample means of n rows each, with an interval for n^2 independent products."""
    alpha, n = 1e-3, 1000
    first, second = np.random.default_rng(0).binomial(n, 0.8, size=(2, 10_000)) / n  # f is (1, 0) or (0, 1)
    product = first * second + (1 - first) * (1 - second)
    width = math.sqrt(math.log(2 / alpha) / (8 * n**2))
    assert (np.abs(product - (0.8**2 + 0.2**2)) > width).mean() > 0.5
    assert (np.abs(product - (0.8**2 + 0.2**2)) > math.sqrt(2 * math.log(2 / alpha) / n)).mean() <= alpha


def test_looks_at_full_alpha_add_up():
    """A Clopper-Pearson bound of a fair coin, looked at a hundred times, is wrong once too often."""
    alpha, runs = 1e-2, 4000
    counts = np.random.default_rng(0).binomial(100, 0.5, size=(runs, 100)).cumsum(axis=1)
    n = 100 * np.arange(1, 101)
    lower = beta.ppf(alpha, counts, n - counts + 1)
    assert (lower[:, -1] > 0.5).mean() < 2 * alpha
    assert (lower > 0.5).any(axis=1).mean() > 5 * alpha


@pytest.mark.parametrize(("speakers", "percent"), [(118, 11.2), (1118, 67.4), (7323, 99.9)])
def test_the_error_probability_by_the_papers_own_formula(speakers, percent):
    assert 100 * (1 - (1 - 1e-3) ** (speakers + 1)) == pytest.approx(percent, abs=0.1)


def test_votes_carry_further_than_mean_embeddings():
    rows = by_rule(read_rows(ROOT / "docs" / "results" / "mini" / "rows.jsonl.xz", Certificate))
    votes, embedding = (np.median([row.radius for row in rows[rule]]) for rule in ("vote", "mean"))
    assert votes > 5 * embedding


def test_the_mean_rule_is_hardly_larger_than_smoothed_embeddings():
    """With one power of |c1 - c2| in both, the ratio is 1 + pi m^2 / 12 + ... in the margin m."""
    margin = np.linspace(0.01, 0.5, 50)
    ratio = norm.ppf(0.5 + margin / 2) / (math.sqrt(math.pi / 2) * margin)
    assert (ratio >= 1).all()
    assert ratio.max() < 1.08
    assert np.abs(ratio - 1 - math.pi * margin**2 / 12)[margin < 0.2].max() < 1e-3


def test_a_radius_in_l2_bounds_the_one_in_l_infinity_from_below():
    """Of a half-space: its l2 radius over sqrt(n) is never above its l-infinity radius, and often far below."""
    weights = np.random.default_rng(0).laplace(size=(1000, 48))
    l2, l_infinity = 1 / np.linalg.norm(weights, axis=1), 1 / np.abs(weights).sum(axis=1)
    assert (l2 / math.sqrt(48) <= l_infinity).all()
    assert (l2 / math.sqrt(48) < 0.8 * l_infinity).mean() > 0.9


@pytest.mark.parametrize(
    ("sigma", "n", "printed", "right"),
    [(0.5, 10**4, 1.160, 1.599), (1.0, 10**4, 3.320, 3.199), (2, 10**3, 4.923, 4.927)],
)
def test_largest_radii(sigma, n, printed, right):
    largest = sigma * norm.ppf(1e-3 ** (1 / n))
    assert largest == pytest.approx(right, abs=6e-4)
    assert abs(largest - printed) > 3e-3


def test_the_posterior_variance_as_printed_is_upside_down():
    """Without a condition (m = 0) the process is DDPM's, and its posterior variance is known."""
    alpha_bar = PurificationScheduler(conditional=False).alphas_cumprod.double().numpy()
    before, now = 1 - alpha_bar[:-1], 1 - alpha_bar[1:]  # delta_t, eq. (3)
    beta_t = 1 - alpha_bar[1:] / alpha_bar[:-1]
    step = now - (1 - beta_t) * before  # delta_{t|t-1}, eq. (8)
    known = beta_t * before / now
    np.testing.assert_allclose(step * before / now, known, rtol=1e-6)
    assert (step * now / before > known).all()


def test_the_quality_index_as_printed_is_not_the_sum_of_its_columns():
    def index(stoi, pesq, si_sdr, error_rate):
        return (stoi + pesq + si_sdr) * (1 - error_rate / 100)

    assert index(0.930, 2.962, 10.239, 3.862) == pytest.approx(13.585, abs=1e-3)
    assert index(0.931, 2.960, 10.271, 3.346) == pytest.approx(13.688, abs=1e-3)
    assert abs(13.749 - index(0.931, 2.960, 10.271, 3.346)) > 0.05
    quiet, wrong = index(0.630, 1.138, -14.741, 30.285), index(0.630, 1.138, -14.741, 100)
    assert wrong > quiet, "where the sum is negative, more errors raise it"


def test_kaldis_energy_floor_hears_the_scale():
    """Subtracting the mean would cancel a factor of the waveform, but for the floor that does not scale along."""
    quiet = 1e-5 * torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    right, wrong = KaldiFbank(scale=32768.0)(quiet), KaldiFbank(scale=1.0)(quiet)
    assert (right - wrong).abs().max() > 1
    loud = 1e4 * quiet
    torch.testing.assert_close(KaldiFbank(scale=32768.0)(loud), KaldiFbank(scale=1.0)(loud), atol=1e-2, rtol=0)


def test_fifty_steps_of_one_do_not_reach_the_budget():
    """With steps of l2 norm 1 in 16-bit units, PGD ends far inside the ball; a larger budget changes nothing."""

    def recognizer(waveform):  # a linear score: every step goes the same way
        return torch.stack([waveform.mean(dim=1), -waveform.mean(dim=1)], dim=1)

    waveform, label = torch.full((1, 400), 0.1), torch.tensor([0])
    settings = {"norm": "l2", "steps": 50, "step_size": from_int16(1), "random_start": False}
    forged = pgd(recognizer, waveform, label, epsilon=from_int16(6400), **settings)
    assert norms(forged - waveform, "l2").item() == pytest.approx(from_int16(50), rel=1e-3)
    reached = pgd(recognizer, waveform, label, epsilon=from_int16(6400), **settings | {"step_size": None})
    assert norms(reached - waveform, "l2").item() == pytest.approx(from_int16(6400), rel=1e-3)


def test_an_attack_scaled_afterwards_misses_what_it_had_found():
    """Where the flip lies in a band, a perturbation found in a small ball and scaled to a large one passes over it."""

    def recognizer(waveform):  # the first speaker, but where the mean is within 0.02 of 0.1
        beyond = (waveform.mean(dim=1) - 0.1).abs() - 0.02
        return torch.stack([beyond, -beyond], dim=1)

    waveform, label = torch.zeros(1, 400), torch.tensor([0])
    settings = {"norm": "l2", "steps": 50, "random_start": False}
    small, large = 0.1 * 400**0.5, 0.3 * 400**0.5
    found = pgd(recognizer, waveform, label, epsilon=small, **settings)
    assert recognizer(found).argmax() == 1
    assert recognizer(found * large / norms(found, "l2")).argmax() == 0
    assert recognizer(pgd(recognizer, waveform, label, epsilon=large, **settings)).argmax() == 1


def test_the_same_noise_leaves_the_same_speech_of_either_attack():
    """Noise of 0.015 drowns both attacks: what they add has a power of less than a 250th of the noise's."""
    generator = torch.Generator().manual_seed(0)
    speech, noise = (size * torch.randn(48_000, generator=generator) for size in (0.06, 0.015))
    l2 = torch.randn(48_000, generator=generator)
    l2 *= from_int16(6400) / l2.norm()
    linf = from_int16(30) * torch.randn(48_000, generator=generator).sign()

    def si_sdr(received):
        target = (received @ speech) / (speech @ speech) * speech
        return 10 * math.log10(target.square().sum() / (received - target).square().sum())

    first, second = si_sdr(speech + l2 + noise), si_sdr(speech + linf + noise)
    assert abs(first - second) < 0.1
    assert 8.548 - -11.476 > 20  # as printed


def test_the_norm_loss_as_printed_costs_nothing_upwards():
    waveform, added = torch.zeros(1, 100), torch.full((1, 100), 0.3)
    assert norm_loss(waveform, waveform + added, "literal") == 0
    assert norm_loss(waveform, waveform - added, "literal") > 0
    assert norm_loss(waveform, waveform + added, "hinge") == norm_loss(waveform, waveform - added, "hinge") > 0
