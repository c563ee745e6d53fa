"""Tables of attacks: printed numbers stand beside runs that they are about, and intervals are over speakers."""

from attack_tables import beside_ssed

from voxcert.evaluation.attack.row import AttackRow


def row(utterance="a/1", **values):
    about = {"utterance": utterance, "speaker": utterance[0], "target": "z", "scenario": "csi", "attack": "fgsm"}
    about |= {"expected": utterance[0], "clean": utterance[0], "adversarial": "z", "success": True, "seed": 0}
    about |= {"attack_settings": {"epsilon": 0.001, "norm": "linf"}, "snr_db": 35.0, "backwards": 1.0}
    return AttackRow(**about | values)


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_printed_number_stands_beside_the_same_attack_alone():
    missed = row("b/1", success=False, adversarial="b", snr_db=33.0)
    runs = [
        ("mini", "closed", [row(), missed]),
        ("mini", "other budget", [row(attack_settings={"epsilon": 0.003})]),
        ("mini", "untargeted", [row(target=None)]),
        ("mini", "open", [row(scenario="osi", expected=None)]),
        ("mini", "claims", [row(scenario="sv", expected=None)]),
        ("mini", "sound", [row(attack="universal", attack_settings={"perturbation": "sha256:0"}, linf=0.0099999)]),
    ]
    closed, other, untargeted, opened, claims, sound = (cells(line) for line in beside_ssed(runs).splitlines()[2:])
    assert closed[:7] == ["mini", "csi", "fgsm", "0.001", "5.42 / 41.4", "50.0 [9.5, 90.5]", "34.0"]
    assert closed[7:] == ["100.0, 50.0", "2 (2)", "1", "`closed`"]
    assert other[3:5] == ["0.003", ""]
    assert untargeted[2:5] == ["fgsm, untargeted", "0.001", ""]
    assert opened[1:5] == ["osi", "fgsm", "0.001", "15.61 / 41.42"]
    assert claims[1:5] == ["sv", "fgsm", "0.001", ""]
    assert sound[2:5] == ["universal", "0.01", "65.6 / 38.56"]
