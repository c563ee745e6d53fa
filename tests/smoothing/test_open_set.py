"""The deployed open set: what it answers, and that nobody is not an abstention."""

import math

import pytest
import torch
from oracles import turning

from voxcert.smoothing import Certifier, Prediction, ScoreCertifier

ALPHA, SIGMA = 0.05, 0.2
ANSWERS = {"prediction": None, "nobody": False, "abstained": None}


def at(degrees):
    return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]


PROTOTYPES = torch.tensor([at(0), at(90), at(180)])


def system(**changes):
    settings = {"sigma": SIGMA, "alpha": ALPHA, "num_select": 20, "num_estimate": 400, "batch_size": 20}
    return ScoreCertifier(turning, PROTOTYPES, ["east", "north", "west"], **settings | changes)


def ask(certifier, degrees, threshold, classifier, name="u"):
    return certifier.predict(torch.tensor([degrees / 100.0]), name, classifier, threshold)


@pytest.mark.parametrize("classifier", ["embedding", "vote"])
def test_names_the_winner_nobody_or_says_nothing(classifier):
    near = ask(system(), 10.0, 0.5, classifier)
    assert (near.prediction, near.nobody, near.abstained, near.threshold) == ("east", False, None, 0.5)
    between = ask(system(), 135.0, 0.9, classifier)
    assert (between.prediction, between.nobody, between.abstained) == (None, True, None)
    assert between.num_forwards < 420
    torn = ask(system(), 45.0, 0.2, classifier)  # two winners, both above the threshold
    assert (torn.prediction, torn.nobody, torn.num_forwards) == (None, False, 420)
    assert torn.abstained == "neither a speaker nor nobody is shown to be the answer"
    closed = ask(system(), 135.0, None, classifier)
    assert (closed.nobody, closed.threshold) == (False, None), "without a threshold nobody is no answer"


@pytest.mark.parametrize("classifier", ["embedding", "vote"])
def test_the_answer_is_that_of_the_certificate(classifier):
    """Within a certified radius: named above a lower bound on the score, nobody above the largest upper bound."""
    exact = system(num_estimate=5000, batch_size=500, alpha=1e-3)
    for degrees in (10.0, 60.0, 135.0):
        (row,) = exact.identify_or_reject(torch.tensor([degrees / 100.0]), [0.06], verifiers=[classifier])
        for shift in (-5.9, 5.9):  # 0.059 of the waveform
            high = ask(exact, degrees + shift, min(row.upper[0] + 0.02, 0.999), classifier, f"{degrees} {shift}")
            assert high.prediction is None
            if row.lower[0] > -1:
                low = ask(exact, degrees + shift, row.lower[0] - 0.02, classifier, f"{degrees} {shift}")
                assert (low.prediction, low.nobody) in ((row.claim, False), (None, False))


@pytest.mark.parametrize(
    "changes", [{}, {"prediction": "east", "nobody": True}, {"nobody": True, "abstained": "why"}, {"abstained": None}]
)
def test_an_answer_is_one_of_three(changes):
    about = {"utterance": "u", "classifier": "vote", "sigma": 1.0, "alpha": 0.1, "num_forwards": 1, "seed": 0}
    with pytest.raises(ValueError, match="prediction must be a speaker, nobody or an abstention, one of the three"):
        Prediction(**about, **ANSWERS | changes)


def test_unusable_embeddings_and_thresholds_out_of_range():
    broken = Certifier(lambda w: torch.full((len(w), 2), torch.nan), PROTOTYPES, sigma=1.0, batch_size=10)
    assert broken.predict(torch.zeros(1), threshold=0.5).abstained == "non-finite or zero embeddings"
    for threshold in (1.0, "0.5"):
        with pytest.raises(ValueError, match=rf"threshold must be None or in \(-1, 1\), got {threshold!r}"):
            ask(system(), 0.0, threshold, "vote")
