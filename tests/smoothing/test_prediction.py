import pytest
import torch
from oracles import RIVALS, HalfSpace, random_units
from scipy.stats import binom

from voxcert.smoothing import Certifier
from voxcert.smoothing.betting import BETS
from voxcert.smoothing.prediction import EmbeddingTest

WEIGHT = torch.tensor([1.0])


def certifier(encoder=None, prototypes=RIVALS, **settings):
    defaults = {"sigma": 1.0, "alpha": 0.05, "num_select": 20, "num_estimate": 400, "batch_size": 20}
    return Certifier(encoder or HalfSpace(WEIGHT), prototypes, **defaults | settings)


@pytest.mark.parametrize("classifier", ["vote", "embedding"])
def test_an_easy_answer_takes_few_samples(classifier):
    answer = certifier(speakers=("ann", "bob"), num_estimate=10_000, seed=3).predict(
        torch.tensor([1.5]), "u", classifier
    )
    assert (answer.prediction, answer.abstained, answer.classifier) == ("ann", None, classifier)
    assert (answer.utterance, answer.sigma, answer.alpha, answer.seed) == ("u", 1.0, 0.05, 3)
    assert answer.num_forwards <= 60


@pytest.mark.parametrize("classifier", ["vote", "embedding"])
def test_a_tie_is_seldom_answered(classifier):
    """On the boundary itself no class wins, so every answer is one too many."""
    system = certifier()
    answers = [system.predict(torch.zeros(1), f"trial {trial}", classifier) for trial in range(400)]
    assert sum(answer.prediction is not None for answer in answers) <= binom.ppf(1 - 1e-4, 400, 0.05)
    silent = next(answer for answer in answers if answer.prediction is None)
    assert (silent.abstained, silent.num_forwards) == ("no class is shown to win", 420)


@pytest.mark.parametrize("classifier", ["vote", "embedding"])
def test_close_calls_are_answered_rightly_or_not_at_all(classifier):
    system = certifier()
    answers = [system.predict(torch.tensor([0.1]), f"trial {trial}", classifier).prediction for trial in range(300)]
    assert answers.count("1") <= binom.ppf(1 - 1e-4, 300, 0.05)
    assert answers.count("0") > 0


@pytest.mark.parametrize("classifier", ["vote", "embedding"])
def test_inside_a_certified_radius_the_answer_is_the_certified_one_or_none(classifier):
    system = certifier(num_estimate=2000, rules=("vote", "distribution"), batch_size=200)
    x = torch.tensor([1.2])
    radius = min(row.radius for row in system.certify(x, "u"))
    answers = {
        system.predict(x - share * radius, f"trial {share}", classifier).prediction for share in (0.0, 0.5, 0.95)
    }
    assert answers <= {"0", None}
    assert "0" in answers


def test_the_wealth_of_every_rival_by_hand():
    """The running logarithms are those of the products, in whatever batches; one rival below its goal is enough."""
    prototypes, embeddings = random_units(4, 6).double(), random_units(30, 6, seed=1).double()
    test = EmbeddingTest(prototypes, 2)
    for batch in embeddings.split(7):
        test.add(batch)
    wealths = []
    for k in (0, 1, 3):
        direction = prototypes[2] - prototypes[k]
        xi = embeddings @ (direction / direction.norm())
        bets = [(float(bet), 0.25 / 9) for bet in BETS[::5]] + [(1.0, 0.75)]
        wealths.append(sum(weight * float((1 + bet * xi).prod()) for bet, weight in bets))
    for alpha in (0.9 / min(wealths), 1.1 / min(wealths)):
        assert test.safe(alpha) == (min(wealths) >= 1 / alpha)


def test_the_strongest_other_class_decides_for_votes():
    """Three classes with shares 0.5, 0.45 and 0.05: an answer needs a test of the first two."""

    def encoder(waveform):
        place = torch.special.ndtr(waveform[:, 0])
        return torch.eye(3)[(place > 0.5).long() + (place > 0.95).long()]

    few = certifier(encoder, torch.eye(3), num_estimate=200).predict(torch.zeros(1), "u", "vote")
    assert few.prediction is None
    many = certifier(encoder, torch.eye(3), num_estimate=20_000, num_select=2000, batch_size=1000)
    assert many.predict(torch.zeros(1), "u", "vote").prediction == "0"


def test_many_speakers_and_identical_prototypes():
    prototypes = random_units(50, 8)
    still = lambda w: prototypes[7].expand(len(w), -1)  # noqa: E731
    assert certifier(still, prototypes).predict(torch.zeros(2)).prediction == "7"
    twice = torch.cat([prototypes, prototypes[7:8]])
    assert certifier(still, twice).predict(torch.zeros(2)).abstained == "no class is shown to win"


@pytest.mark.parametrize("classifier", ["vote", "embedding"])
def test_unusable_embeddings_abstain(classifier):
    zero = certifier(lambda w: torch.zeros(len(w), 2)).predict(torch.zeros(1), "u", classifier)
    assert (zero.prediction, zero.abstained, zero.num_forwards) == (None, "non-finite or zero embeddings", 20)


def test_another_classifier_is_refused():
    with pytest.raises(ValueError, match="^classifier must be one of .*, got 'mean'"):
        certifier().predict(torch.zeros(1), "u", "mean")
