import jsonargparse
import pytest
import torch
from linear import Linear, speech_like

from voxcert import attacks
from voxcert.attacks import Attack, Margin
from voxcert.attacks.black_box import BlackBox, draws, noise


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_answers_are_those_of_single_questions(batch_size):
    recognizer, candidates = Linear(4, 50), speech_like(6, 50).reshape(2, 3, 50)
    labels = torch.tensor([1, 3])
    loss, success = BlackBox(recognizer, Margin(), False, batch_size).judge(candidates, labels)
    for row in range(2):
        for place in range(3):
            scores = recognizer(candidates[row, place, None])
            one = labels[row, None]
            torch.testing.assert_close(loss[row, place], Margin().margin(scores, one, False)[0].detach())
            assert success[row, place] == Margin().succeeded(scores, one, False)[0]
    assert torch.equal(BlackBox(recognizer, Margin(), False, batch_size).succeeded(candidates, labels), success)
    assert not loss.requires_grad


def test_no_more_rows_at_once_than_asked_for():
    recognizer = Linear(4, 50)
    seen = []

    def watched(waveform):
        seen.append(len(waveform))
        return recognizer(waveform)

    BlackBox(watched, Margin(), False, 4).judge(torch.zeros(2, 5, 50), torch.tensor([0, 1]))
    assert seen == [4, 4, 2]


def test_batch_sizes_below_one_are_named():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        BlackBox(Linear(2, 5), Margin(), False, 0)


@pytest.mark.parametrize(("count", "rows", "batch_size"), [(25, 2, 64), (25, 100, 64), (7, 4, 12), (1, 1, 1)])
def test_draws_are_split_but_all_made(count, rows, batch_size):
    groups = draws(count, rows, batch_size)
    assert sum(groups) == count
    assert all(group == 1 or group * rows <= batch_size for group in groups)


def test_noise_does_not_depend_on_how_it_is_split():
    waveform = torch.zeros(2, 50)
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    together = noise(waveform, 5, generators[0])
    apart = torch.cat([noise(waveform, count, generators[1]) for count in (2, 3)], dim=1)
    assert torch.equal(together, apart)
    assert together.std() == pytest.approx(1, abs=0.1)


def test_black_box_attacks_are_named_by_flags():
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--attack", type=Attack)
    problem = Linear(3, 50), speech_like(2, 50), torch.tensor([0, 1])
    for name, settings in {"nes": {"epsilon": 0.01, "max_queries": 60}, "hop_skip_jump": {"max_queries": 300}}.items():
        flags = [f"--attack.{key}={value}" for key, value in settings.items()]
        config = parser.parse_args([f"--attack.class_path=voxcert.attacks.{name}", *flags])
        configured = parser.instantiate(config).attack
        assert torch.equal(configured(*problem), getattr(attacks, name)(*problem, **settings))
