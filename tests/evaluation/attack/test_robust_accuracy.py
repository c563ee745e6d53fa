import math

import numpy as np
import pytest
from attacked import attack_row

from voxcert.evaluation.attack.robust_accuracy import (
    attacked_certificates,
    breaking_norms,
    broken_certificates,
    robust_accuracy,
)

ROWS = [
    attack_row("early", l2=0.1, radius=0.1),
    attack_row("early", l2=0.2, radius=0.2, adversarial="a"),  # a larger perturbation that failed
    attack_row("late", l2=0.1, radius=0.1, adversarial="a"),
    attack_row("late", l2=0.20001, radius=0.2),  # rounded out of the ball
    attack_row("never", l2=0.1, radius=0.1, adversarial="a"),
    attack_row("never", l2=0.2, radius=0.2, adversarial="a"),
    attack_row("wrong", clean="b", l2=0.1, radius=0.1),
    attack_row("unread", failed="empty"),
]


def test_smallest_norm_that_worked():
    expected = {"early": 0.1, "late": 0.2, "never": math.inf, "wrong": 0.0, "unread": 0.0}
    assert breaking_norms(ROWS) == expected


def test_curve_keeps_what_smaller_radii_found_and_counts_failures():
    shares = robust_accuracy(ROWS, [0.0, 0.05, 0.1, 0.15, 0.2, 9.0])
    np.testing.assert_allclose(shares, [0.6, 0.6, 0.4, 0.4, 0.2, 0.2])


def test_a_norm_beyond_its_budget_is_what_it_is():
    assert breaking_norms([attack_row("u", l2=0.11, radius=0.1)]) == {"u": 0.11}
    assert breaking_norms([attack_row("u", l2=0.07, radius=0.1)]) == {"u": 0.07}


def test_a_certificate_is_broken_inside_its_radius_only(certificate):
    rows = [attack_row("u0", l2=0.1), attack_row("u1", l2=0.1), attack_row("u2", clean="b", l2=0.0)]
    certificates = [certificate(radius=0.11, utterance="u0"), certificate(radius=0.09, utterance="u1")]
    certificates += [certificate(radius=0.11, utterance="u2"), certificate(radius=0.11, utterance="u3")]
    assert broken_certificates(rows, certificates) == certificates[:1]
    wrong = certificate(radius=0.11, utterance="u0", prediction="b")
    assert broken_certificates(rows, [wrong]) == []


def test_an_attack_that_failed_turned_nothing():
    failed = attack_row(failed="not finite", forwards=3)
    assert breaking_norms([failed]) == {"u0": math.inf}
    assert breaking_norms([failed, attack_row(l2=0.2)]) == {"u0": 0.2}
    assert breaking_norms([attack_row(failed="not finite", forwards=3, clean="b")]) == {"u0": 0.0}


def test_an_attack_that_changed_nothing_was_inside_no_certificate(certificate):
    proof = certificate(radius=0.11)
    given_back = attack_row(l2=0.0, linf=0.0, adversarial="a")
    failed = attack_row(l2=0.0, linf=0.0, failed="not finite", forwards=3)
    assert attacked_certificates([given_back, failed], [proof]) == []
    assert attacked_certificates([given_back, attack_row(adversarial="a")], [proof]) == [proof]


def test_no_rows_is_an_error():
    with pytest.raises(ValueError, match="at least one attacked utterance"):
        robust_accuracy([], [0.1])


def test_an_abstention_breaks_nothing_and_proves_nothing(certificate):
    silent = attack_row(adversarial=None, abstained=True, success=False)
    assert not silent.turned
    assert not silent.correct
    assert breaking_norms([silent]) == {"u0": math.inf}
    assert broken_certificates([silent], [certificate("vote", 0.5)]) == []
    assert breaking_norms([attack_row(clean=None, abstained_before=True)]) == {"u0": 0.0}
