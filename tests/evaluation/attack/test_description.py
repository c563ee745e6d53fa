import json
import math

import pytest
import torch

from voxcert.attacks import Verification, attack, bim, carlini_wagner, fgsm, pgd, universal
from voxcert.evaluation.attack.description import attack_names, attack_path, attack_settings, check_attack
from voxcert.evaluation.attack.settings import AttackSettings


def test_settings_with_their_defaults():
    settings = attack_settings(pgd(epsilon=0.1, objective=Verification(0.3)))
    assert settings["epsilon"] == 0.1
    assert settings["steps"] == 40
    assert settings["objective"] == {"class": "Verification", "threshold": 0.3}
    assert not {"targeted", "generator"} & settings.keys()
    assert attack_path(pgd(epsilon=0.1)) == "voxcert.attacks.gradient.pgd"


def test_tensors_are_told_apart_by_their_hash():
    one, other = (attack_settings(universal(perturbation=torch.full((9,), value))) for value in (0.1, 0.2))
    assert one != other
    assert json.loads(json.dumps(one)) == one


def test_an_object_can_attack():
    class Louder:
        def __call__(self, recognizer, waveform, labels, *, objective, targeted, generator):
            return waveform

    assert attack_path(Louder()).endswith("Louder")
    assert attack_settings(Louder()) == {}


def test_names_are_attacks_that_text_can_configure():
    names = attack_names()
    assert {"fgsm", "bim", "pgd", "carlini_wagner"} <= set(names)
    assert not {"universal", "attack", "norms", "fit_universal"} & set(names)


@pytest.mark.parametrize(
    ("attack", "changes", "message"),
    [
        (fgsm(epsilon=0), {}, "attack.epsilon must be above 0, got 0"),
        (bim(epsilon=-0.1), {}, "attack.epsilon must be above 0, got -0.1"),
        (fgsm(epsilon=math.inf), {}, "attack.epsilon must be finite, got inf"),
        (pgd(epsilon=0.1, step_size=math.nan), {}, "attack.step_size must be finite, got nan"),
        (pgd(epsilon=0.1, objective=Verification(math.nan)), {}, "attack.objective.threshold must be finite, got nan"),
        (pgd, {}, "attack.epsilon must be given for voxcert.attacks.gradient.pgd, got no value"),
        (universal(), {"radii": [0.1]}, "attack.perturbation must be given for .*universal, got no value"),
        (
            carlini_wagner(),
            {"radii": [0.1]},
            r"radii and within must be null for an attack without epsilon .* for .*carlini_wagner ",
        ),
        (pgd(epsilon=1, targeted=True), {"targeted": False}, "attack.targeted must be left to the option targeted"),
    ],
)
def test_wrong_attacks_are_named(attack, changes, message):
    with pytest.raises(ValueError, match=message):
        check_attack(attack, AttackSettings("run", **changes))


def test_radii_stand_in_for_epsilon():
    check_attack(pgd, AttackSettings("run", radii=[0.1]))


def test_an_attack_of_ones_own_needs_no_budget():
    @attack
    def nothing(recognizer, waveform, labels, *, objective, targeted, generator):
        return waveform

    check_attack(nothing(), AttackSettings("run"))
