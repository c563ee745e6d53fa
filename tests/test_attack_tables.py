"""Tables of attacks: printed numbers stand beside runs that they are about, and intervals are over speakers."""

import pytest
from attack_tables import beside_ssed, trained_under_noise, under_noise, withstood

from table_cells import cells
from voxcert.evaluation.attack.row import AttackRow

SNR_OF_TWO = "34.0 [21.3, 46.7]"
"""Of 33 and 35 dB, with Student's t of one degree of freedom, 12.706, times the standard error, 1."""


def row(utterance="a/1", **values):
    about = {"utterance": utterance, "speaker": utterance[0], "target": "z", "scenario": "csi", "attack": "fgsm"}
    about |= {"expected": utterance[0], "clean": utterance[0], "adversarial": "z", "success": True, "seed": 0}
    about |= {"attack_settings": {"epsilon": 0.001, "norm": "linf"}, "snr_db": 35.0, "backwards": 1.0}
    about |= {"l2": 0.2, "seconds": 0.5}
    return AttackRow(**about | values)


def test_a_printed_number_stands_beside_the_same_attack_alone():
    missed = row("b/1", success=False, adversarial="b", snr_db=33.0)
    runs = [
        ("mini", "closed", [row(), missed]),
        ("mini", "other budget", [row(attack_settings={"epsilon": 0.003})]),
        ("mini", "untargeted", [row(target=None)]),
        ("mini", "open", [row(scenario="osi", expected=None)]),
        ("mini", "claims", [row(scenario="sv", expected=None)]),
        ("mini", "least", [row(attack="carlini_wagner", attack_settings={}, linf=one) for one in (0.001, 0.002)]),
        ("mini", "ssed-no-angular", [row(attack="ssed", attack_settings={"epsilon": 0.01})]),
        ("mini", "ssed-no-angular-0.05", [row(attack="ssed", attack_settings={"epsilon": 0.05})]),
        ("mini", "transfer-ssed", [row(attack="ssed", attack_settings={"epsilon": 0.01})]),
        ("mini", "ssed-any-0.01", [row(attack="ssed", attack_settings={"epsilon": 0.01})]),
        ("mini", "sound", [row(attack="universal", attack_settings={"perturbation": "sha256:0"}, linf=0.0099999)]),
    ]
    closed, other, untargeted, opened, claims, least, quiet, ablation, transfer, any_target, sound = (
        cells(line) for line in beside_ssed(runs).splitlines()[2:]
    )
    assert closed[:7] == ["mini", "csi", "fgsm", "0.001", "5.42 / 41.4", "50.0 [9.5, 90.5]", SNR_OF_TWO]
    assert closed[7:] == ["0.20", "100.0, 50.0", "2 (2)", "1", "0.5", "`closed`"]
    assert other[3:5] == ["0.003", ""]
    assert untargeted[2:5] == ["fgsm, untargeted", "0.001", ""]
    assert opened[1:5] == ["osi", "fgsm", "0.001", "15.61 / 41.42"]
    assert claims[1:5] == ["sv", "fgsm", "0.001", ""]
    assert least[2:5] == ["carlini_wagner", "", "52.88 / 63.97"]
    assert quiet[2:5] == ["ssed", "0.01", ""]
    assert ablation[2:5] == ["ssed", "0.05", "96.8 / 38.85"]
    assert transfer[2:5] == ["ssed", "0.01", ""]
    assert any_target[2:5] == ["ssed", "0.01", ""]
    assert sound[2:5] == ["universal", "0.01", "65.6 / 38.56"]


def test_the_snr_is_of_what_was_added():
    silent, single = row("b/1", snr_db=None), [row(), row("a/2", snr_db=33.0)]
    runs = [("mini", "one", [row(), silent]), ("mini", "none", [silent]), ("mini", "speaker", single)]
    assert [cells(line)[6] for line in beside_ssed(runs).splitlines()[2:]] == ["35.0", "-", "34.0"]


def test_what_is_withstood_never_rises_with_the_radius():
    def attacked(utterance, radius, turned):
        budget = {"radius": radius, "l2": radius, "target": None, "success": turned}
        return row(utterance, adversarial="z" if turned else utterance[0], **budget)

    rows = [attacked("a/1", 0.1, False), attacked("a/1", 0.2, True), attacked("b/1", 0.1, True)]
    rows += [attacked("b/1", 0.2, False), row("c/1", clean="a", radius=0.1, target=None, adversarial="a")]
    heading, _, line = (cells(line) for line in withstood([("mini", "run", rows)]).splitlines())
    assert heading == ["encoder", "no attack", "0.1", "0.2", "utterances (speakers)", "gradients", "rows"]
    assert [cell.split()[0] for cell in line[1:4]] == ["66.7", "33.3", "0.0"]
    assert line[4:] == ["3 (3)", "1", "`run`"]
    with pytest.raises(ValueError, match=r"runs must be at the same radii, got \[0.1\] of other"):
        withstood([("mini", "run", rows), ("mini", "other", rows[:1])])


def test_more_noise_may_do_less():
    rows = [row("a/1", radius=radius, target=None, adversarial=name) for radius, name in ((2.0, "z"), (1.0, "a"))]
    rows += [row("b/1", radius=radius, target=None, adversarial=name) for radius, name in ((2.0, "b"), (1.0, "z"))]
    rows += [row("c/1", radius=radius, target=None, clean="a", adversarial="c") for radius in (1.0, 2.0)]
    heading, _, line = (cells(line) for line in under_noise([("mini", "run", rows)]).splitlines())
    assert heading[1:4] == ["no noise", "norm 1", "norm 2"]
    assert [cell.split()[0] for cell in line[1:4]] == ["66.7", "66.7", "66.7"]


def test_a_network_trained_under_noise_stands_beside_its_like():
    rows = [row("a/1", radius=2.0, target=None), row("b/1", radius=2.0, target=None, clean="a")]
    runs = [("mini-clean", "clean", rows), ("mini-0.05", "noisy", rows)]
    heading, _, clean, noisy = (cells(line) for line in trained_under_noise(runs).splitlines())
    assert heading[:4] == ["encoder", "sigma in training", "paper, no noise", "no noise"]
    assert clean[:3] == ["mini-clean", "0", "99.0"]
    assert noisy[:3] == ["mini-0.05", "0.05", "62.0"]
    assert noisy[3].startswith("50.0 [")
