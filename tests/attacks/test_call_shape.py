import pickle

import jsonargparse
import numpy as np
import pytest
import torch
from linear import Linear, speech_like

from voxcert import attacks
from voxcert.attacks import Attack, Margin, Verification, fgsm, norms, pgd
from voxcert.attacks.call_shape import NoGradientError

YAML = """
attack:
  class_path: voxcert.attacks.pgd
  init_args:
    epsilon: 0.005
    steps: 7
    objective: {class_path: voxcert.attacks.Verification, init_args: {threshold: 0.3}}
"""


@pytest.fixture
def batch():
    return Linear(3, 200), speech_like(2, 200), torch.tensor([0, 1])


def parser():
    made = jsonargparse.ArgumentParser(exit_on_error=False)
    made.add_argument("--attack", type=Attack)
    made.add_argument("--config", action="config")
    return made


def parse(*arguments):
    made = parser()
    return made.instantiate(made.parse_args(arguments)).attack


def test_an_attack_is_named_in_yaml(tmp_path, batch):
    (tmp_path / "attack.yaml").write_text(YAML)
    attack = parse("--config", str(tmp_path / "attack.yaml"))
    settings = {"epsilon": 0.005, "steps": 7, "objective": Verification(0.3)}
    assert attack.keywords.items() >= settings.items()
    assert torch.equal(attack(*batch), pgd(*batch, **settings))
    assert torch.equal(attack(*batch, targeted=True), pgd(*batch, targeted=True, **settings))


def test_flags_lay_values_over_the_file(tmp_path, batch):
    (tmp_path / "attack.yaml").write_text(YAML)
    attack = parse("--config", str(tmp_path / "attack.yaml"), "--attack.epsilon", "0.01")
    assert attack.keywords["epsilon"] == 0.01
    assert attack.keywords["steps"] == 7


def test_an_attack_is_named_by_flags(batch):
    attack = parse(
        "--attack.class_path=voxcert.attacks.fgsm", "--attack.epsilon=0.01", "--attack.objective=CrossEntropy"
    )
    assert torch.equal(attack(*batch), fgsm(*batch, epsilon=0.01, objective=attacks.CrossEntropy()))


def test_a_dumped_config_reads_back(tmp_path):
    first = parser()
    (tmp_path / "in.yaml").write_text(YAML)
    config = first.parse_args(["--config", str(tmp_path / "in.yaml")])
    (tmp_path / "out.yaml").write_text(first.dump(config))
    assert parse("--config", str(tmp_path / "out.yaml")).keywords == first.instantiate(config).attack.keywords


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--attack.epsilonn=1"], "'epsilonn' is not accepted"),
        (["--attack.epsilon=much"], 'Parser key "epsilon"'),
        ([], "required: epsilon"),
        (["--attack.epsilon=1", "--attack.generator=1"], "'generator' is not accepted"),
        (["--attack.epsilon=1", "--attack.norm=l1"], 'Parser key "norm"'),
    ],
)
def test_wrong_settings_fail_while_parsing(flags, message):
    with pytest.raises(Exception, match=message):
        parse("--attack.class_path=voxcert.attacks.pgd", *flags)


def test_a_configured_attack_can_be_pickled(batch):
    attack = pickle.loads(pickle.dumps(pgd(epsilon=0.005)))
    assert torch.equal(attack(*batch), pgd(*batch, epsilon=0.005))


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_attacks_work_where_gradients_are_off(batch, context):
    recognizer, waveform, labels = batch
    with context():
        adversarial = pgd(recognizer, waveform.clone(), labels.clone(), epsilon=0.01)
    assert not adversarial.requires_grad
    assert torch.equal(adversarial, pgd(*batch, epsilon=0.01))


def test_attacks_leave_no_trace(batch):
    recognizer, waveform, labels = batch
    recognizer.train()
    before = waveform.clone()
    state = torch.get_rng_state()
    for attack in (fgsm, pgd):
        attack(recognizer, waveform, labels, epsilon=0.01)
    assert torch.equal(waveform, before)
    assert not waveform.requires_grad
    assert recognizer.training
    assert recognizer.weights.requires_grad
    assert recognizer.weights.grad is None
    assert torch.equal(torch.get_rng_state(), state)


def test_any_function_under_the_decorator_is_an_attack(batch):
    @attacks.attack
    def louder(recognizer, waveform, labels, *, gain=2.0, objective, targeted=False, generator):
        assert isinstance(objective, Margin)
        return (gain * waveform).clamp(-1, 1)

    recognizer, waveform, labels = batch
    torch.testing.assert_close(louder(gain=1.5)(recognizer, waveform, labels), (1.5 * waveform).clamp(-1, 1))
    assert norms(louder(recognizer, waveform, labels), "linf").max() <= 1


@pytest.mark.parametrize(
    ("waveform", "labels", "message"),
    [
        (torch.zeros(200), torch.tensor([0]), r"waveform must have shape \(batch, time\).*got \(200,\)"),
        (torch.zeros(2, 200).short(), torch.tensor([0, 1]), "floating point samples, got .* of torch.int16"),
        (torch.full((2, 200), 1.01), torch.tensor([0, 1]), r"waveform must lie in \[-1, 1\], got a peak of 1.01"),
        (torch.full((2, 200), torch.nan), torch.tensor([0, 1]), "got a peak of nan"),
        (torch.zeros(2, 200), torch.tensor([0, 1, 2]), r"labels must have shape \(2,\)"),
        (torch.zeros(2, 200), torch.tensor([0.0, 1.0]), "labels must have .* dtype torch.int64"),
        (torch.zeros(2, 200), torch.tensor([0, 3]), r"labels must lie in \[0, 3\)"),
    ],
)
def test_wrong_batches_are_named(waveform, labels, message):
    with pytest.raises(ValueError, match=message):
        fgsm(Linear(3, 200), waveform, labels, epsilon=0.01)


@pytest.mark.parametrize(
    ("waveform", "labels", "message"),
    [
        (torch.zeros(1, 4), 3, r"labels must be a tensor of shape \(batch,\) and dtype torch.int64, .*, got int 3"),
        (torch.zeros(1, 4), [0], r"labels must be a tensor .*, got list \[0\]"),
        (torch.zeros(1, 4), "anna", "labels must be a tensor .*, got str 'anna'"),
        (torch.zeros(1, 4), np.zeros(1, int), "labels must be a tensor .*, got ndarray array"),
        (np.zeros((1, 4), "float32"), torch.zeros(1).long(), "waveform must be a tensor of shape .*, got ndarray"),
        (torch.zeros(0, 4), torch.zeros(0).long(), "waveform must have at least one row and one sample"),
        (torch.zeros(1, 0), torch.zeros(1).long(), "waveform must have at least one row and one sample"),
    ],
)
@pytest.mark.parametrize("attack", [pgd, fgsm, attacks.nes, attacks.carlini_wagner])
def test_what_is_no_batch_of_tensors_is_named(attack, waveform, labels, message):
    with pytest.raises(ValueError, match=message):
        attack(Linear(3, 4), waveform, labels)


def test_scores_without_a_gradient_are_named(batch):
    recognizer, waveform, labels = batch
    with pytest.raises(ValueError, match="recognizer must be differentiable"):
        fgsm(lambda waveform: recognizer(waveform.detach()).detach(), waveform, labels, epsilon=0.01)


@pytest.mark.parametrize("inner", [torch.no_grad(), torch.inference_mode(), None])
@pytest.mark.parametrize(
    "attack",
    [
        fgsm(epsilon=0.01),
        attacks.bim(epsilon=0.01),
        pgd(epsilon=0.01, early_stop=True),
        attacks.carlini_wagner(steps=3, search_steps=2),
        attacks.imperceptible(epsilon=0.01, steps=2, hiding_steps=2),
    ],
)
@pytest.mark.parametrize("objective", [Margin(), attacks.CrossEntropy(), Verification(0.1)])
def test_attacks_by_gradients_say_so_where_there_is_none(batch, inner, attack, objective):
    linear, waveform, labels = batch

    def recognizer(waveform):
        if inner is None:  # scores have a gradient, that of the weights
            return linear(waveform.detach())
        with inner:
            return linear(waveform)

    with pytest.raises(NoGradientError, match="recognizer must be differentiable with respect to its input"):
        attack(recognizer, waveform, labels, objective=objective)
