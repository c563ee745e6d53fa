"""Attacked claims beside their certificates: rates by hand, and a proof that would be broken is shown."""

from dataclasses import replace

import pytest

from voxcert.evaluation.attack.certified_trials import attacked_trials, attacked_trials_table
from voxcert.evaluation.attack.row import AttackRow
from voxcert.smoothing import CertifiedScore

ABOUT = {"sigma": 0.1, "alpha": 1e-3, "num_select": 1, "num_estimate": 9, "num_forwards": 10, "seconds": 1.0, "seed": 0}


def proof(speaker, claim, lower, upper):
    about = ABOUT | {"verifier": "vote", "open_set": False, "enrolled": True, "encoder": "e", "failed": None}
    values = {"utterance": f"{speaker}0", "speaker": speaker, "claim": claim, "score": 0.5, "radii": [0.0, 0.1]}
    return CertifiedScore(**values, lower=[0.5, lower], upper=[0.5, upper], **about)


def attack(speaker, target, score, accepted, **changes):
    claim = target or speaker
    values = {
        "utterance": f"{speaker}0",
        "speaker": speaker,
        "target": target,
        "scenario": "sv",
        "expected": None if target else speaker,
        "attack": "pgd",
        "attack_settings": {},
        "seed": 0,
        "encoder": "e",
        "radius": 0.1,
        "threshold": 0.4,
        "sigma": 0.1,
        "decision": "vote",
        "adversarial": claim if accepted else None,
        "score": score,
    }
    return AttackRow(**values | changes)


PROOFS = [
    proof("a", "a", 0.45, 0.9),  # certified to stay accepted
    proof("b", "b", 0.30, 0.9),
    proof("a", "b", -0.2, 0.35),  # certified to stay rejected
    proof("b", "a", -0.2, 0.60),
]
ATTACKS = [attack("a", None, 0.50, True), attack("b", None, 0.35, False)]
ATTACKS += [attack("a", "b", 0.30, False), attack("b", "a", 0.32, False)]


def test_noise_in_place_of_an_utterance_is_not_what_was_certified():
    assert attacked_trials(PROOFS, [replace(one, start="white") for one in ATTACKS]) == []


@pytest.mark.parametrize("turned", [lambda rows: rows, reversed])
def test_of_several_attacks_on_a_trial_the_worst_one_counts(turned):
    weaker = [replace(one, seed=1, score=one.score + (-0.1 if one.target else 0.1)) for one in ATTACKS]
    assert attacked_trials(PROOFS, turned([*ATTACKS, *weaker])) == attacked_trials(PROOFS, ATTACKS)
    stronger = attack("a", "b", 0.10, True, seed=1)  # a decision that turned, whatever its score
    (one,) = attacked_trials(PROOFS, turned([*ATTACKS, stronger]))
    assert (one["num_impostor"], one["num_turned"], one["far"]) == (2, 1, 0.5)
    outside = attack("a", "b", 0.90, True, l2=0.2, seed=2)  # breaks nothing, however high its score
    (one,) = attacked_trials(PROOFS, turned([*ATTACKS, stronger, outside]))
    assert one["num_turned"] == 1


def test_rates_by_hand():
    (one,) = attacked_trials(PROOFS, ATTACKS)
    assert one == {
        "radius": 0.1,
        "num_genuine": 2,
        "num_impostor": 2,
        "certified_eer": 0.5,
        "certified_frr": 0.5,
        "certified_far": 0.5,
        "eer": 0.0,
        "frr": 0.5,
        "far": 0.0,
        "num_certified": 2,
        "num_turned": 0,
        "abstention_rate": 0.0,
        "turned": [],
        "num_tried": 0,  # what was added has no norm
    }
    cells = [cell.strip() for cell in attacked_trials_table([one]).splitlines()[-1].strip("|").split("|")]
    assert cells == ["0.1", "2", "2", "50.0", "0.0", "50.0", "50.0", "50.0", "0.0", "2", "0", "0.0"]


def test_a_broken_proof_is_counted_and_an_abstention_breaks_none():
    (broken,) = attacked_trials(PROOFS, [attack("a", None, 0.2, False), attack("a", "b", 0.5, True)])
    assert (broken["num_certified"], broken["num_turned"], broken["eer"]) == (2, 2, 1.0)
    (silent,) = attacked_trials(PROOFS, [attack("a", None, 0.2, False, abstained=True), ATTACKS[2]])
    assert (silent["num_turned"], silent["frr"], silent["abstention_rate"]) == (0, 1.0, 0.5)


def test_broken_proofs_are_named_and_only_those_that_were_put_to_the_test_are_counted():
    genuine, impostor = (
        attack("a", target, score, False, l2=0.05, linf=1e-3) for target, score in ((None, 0.2), ("b", 0.3))
    )
    (one,) = attacked_trials(PROOFS, [genuine, impostor])
    assert (one["turned"], one["num_tried"]) == (["a0 as a"], 2)
    rounded = {"linf": 2.0**-17, "file": "a0.flac"}  # by the file alone
    for untried in ({"linf": 0.0}, rounded, {"l2": 0.2}, {"abstained_before": True}):
        (one,) = attacked_trials(PROOFS, [genuine, replace(impostor, **untried)])
        assert (one["turned"], one["num_certified"], one["num_tried"]) == (["a0 as a"], 2, 1)


def test_bounds_are_cosines_beside_an_attack_whatever_a_cohort_makes_of_them():
    normalised = [replace(one, norm_mean=0.3, norm_deviation=0.1) for one in PROOFS]
    assert attacked_trials(normalised, ATTACKS) == attacked_trials(PROOFS, ATTACKS)


def test_bounds_about_noise_elsewhere_are_not_about_attacks_on_waveforms():
    assert attacked_trials([replace(one, noise_at="features") for one in PROOFS], ATTACKS) == []


def test_only_the_same_trials_of_the_same_system_are_compared():
    for change in ({"encoder": "x"}, {"sigma": 0.2}, {"decision": "mean"}, {"radius": 0.3}, {"failed": "why"}):
        assert attacked_trials(PROOFS, [replace(ATTACKS[0], **change)]) == []
    (alone,) = attacked_trials(PROOFS, ATTACKS[:2])
    assert (alone["eer"], alone["far"], alone["certified_eer"]) == (None, None, None)
    with pytest.raises(ValueError, match=r"must have one threshold to be put together, got \[0.4, 0.5\]"):
        attacked_trials(PROOFS, [ATTACKS[0], replace(ATTACKS[1], threshold=0.5)])


def test_a_name_in_an_open_set_is_no_claim():
    """Impostors whose target wins there would count as genuine: their speaker is enrolled."""
    named = replace(PROOFS[2], open_set=True)
    assert named.target
    assert attacked_trials([named], [ATTACKS[2]]) == []
    assert attacked_trials([*PROOFS, named], ATTACKS) == attacked_trials(PROOFS, ATTACKS)


def test_what_was_rounded_beyond_the_radius_breaks_no_proof():
    for l2, num_turned in ((0.1 * (1 + 9e-5), 1), (0.1019, 0)):
        (one,) = attacked_trials(PROOFS, [attack("a", None, 0.2, False, l2=l2, file="a0.flac")])
        assert (one["num_certified"], one["num_turned"]) == (1, num_turned)


def test_radii_are_rounded_down():
    proofs = [replace(one, radii=[0.0, 0.12345678]) for one in PROOFS]
    attacks = [replace(one, radius=0.12345678) for one in ATTACKS]
    (*_, line) = attacked_trials_table(attacked_trials(proofs, attacks)).splitlines()
    assert line.split("|")[1].strip() == "0.123456"
