import json
import math

import pytest
import torch

from voxcert.attacks import (
    CrossEntropy,
    Margin,
    SaliencyGenerator,
    Verification,
    attack,
    bim,
    carlini_wagner,
    fgsm,
    nes,
    pgd,
    ssed,
    universal,
)
from voxcert.encoders.checkpoint import save_checkpoint
from voxcert.evaluation.attack.description import (
    attack_hash,
    attack_names,
    attack_path,
    attack_settings,
    check_attack,
    check_hash,
)
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


def test_a_network_is_told_apart_by_config_and_weights_also_in_its_folder(tmp_path):
    torch.manual_seed(0)
    network, other = (SaliencyGenerator(channels=(2, 2, 2), dilations=(1,)).eval() for _ in range(2))
    first = attack_hash(ssed(network=network))
    assert first == attack_hash(ssed(network=network)) != attack_hash(ssed(network=other))
    assert attack_settings(ssed(network=network)) != attack_settings(ssed(network=other))
    network.epsilon = 0.01  # part of what it does
    assert attack_hash(ssed(network=network)) != first
    hashes = set()
    for one in (network, other):
        save_checkpoint(one, tmp_path, {})
        hashes |= {attack_hash(ssed(network=tmp_path)), attack_hash(ssed(network=str(tmp_path)))}
        assert attack_settings(ssed(network=str(tmp_path)))["network"] == str(tmp_path)
    assert len(hashes) == 2


def test_what_holds_nothing_has_no_hash_and_another_one_is_refused():
    assert attack_hash(pgd(epsilon=0.1), bim(epsilon=0.2)) is None
    assert check_hash(None, pgd(epsilon=0.1)) is None
    sound = universal(perturbation=torch.ones(3))
    assert check_hash(attack_hash(sound), sound) == attack_hash(sound) == attack_hash(pgd(epsilon=0.1), sound)
    with pytest.raises(ValueError, match=f"attack_hash must be {attack_hash(sound)}, that of .*, got 0123"):
        check_hash("0123", sound)


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
        (
            pgd(step_size=0.001),
            {"radii": [0.5, 0.03]},
            r"attack.steps \* attack.step_size must be at .* 0.5, got 40 \* 0",
        ),
        (pgd(epsilon=0.1, steps=9, step_size=0.01), {}, r"must be at least .* 0.1, got 9 \* 0.01 = 0.09 "),
        (
            bim(epsilon=1, objective=Margin(0.7)),
            {},
            "attack.objective.threshold must be left to the option threshold, got 0.7 there and None here",
        ),
        (
            bim(epsilon=1, objective=Verification(0.3)),
            {"scenario": "sv"},
            "attack.objective.threshold must be left to the option threshold, got 0.3 there and None here",
        ),
        (
            bim(epsilon=1, objective=CrossEntropy(0.3)),
            {"scenario": "osi", "threshold": 0.4},
            "attack.objective.threshold must be left to the option threshold, got 0.3 there and 0.4 here",
        ),
    ],
)
def test_wrong_attacks_are_named(attack, changes, message):
    with pytest.raises(ValueError, match=message):
        check_attack(attack, AttackSettings("run", **changes))


def test_what_an_objective_repeats_of_the_run_is_no_contradiction():
    check_attack(bim(epsilon=1, objective=Verification(0.3)), AttackSettings("run", scenario="sv", threshold=0.3))
    check_attack(bim(epsilon=1, objective=CrossEntropy()), AttackSettings("run", scenario="osi", threshold=0.3))


def test_steps_that_lead_to_the_budget_pass():
    check_attack(pgd(step_size=0.29, steps=100), AttackSettings("run", radii=[29.0]))  # 28.999999999999996
    check_attack(pgd(epsilon=torch.ones(2), step_size=0.001), AttackSettings("run"))
    check_attack(pgd(step_size=0.001), AttackSettings("run", radii=[0.04]))
    check_attack(nes(step_size=0.001), AttackSettings("run", radii=[0.5]))


def test_radii_stand_in_for_epsilon():
    check_attack(pgd, AttackSettings("run", radii=[0.1]))


def test_an_attack_of_ones_own_needs_no_budget():
    @attack
    def nothing(recognizer, waveform, labels, *, objective, targeted, generator):
        return waveform

    check_attack(nothing(), AttackSettings("run"))
