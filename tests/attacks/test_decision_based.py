import warnings

import pytest
import torch
from linear import Linear, smallest_norm, speech_like
from torch import nn

from voxcert.attacks import Counted, Margin, hop_skip_jump, norms


def decisions(recognizer):
    """One for the best speaker and zero for the others, without gradients: all that this attacker may see."""

    def decide(waveform):
        with torch.no_grad():
            return nn.functional.one_hot(recognizer(waveform).argmax(dim=1), recognizer(waveform).shape[1]).float()

    return decide


def problem(batch=3, time=80, num_speakers=2):
    recognizer, waveform = Linear(num_speakers, time), speech_like(batch, time)
    return recognizer, waveform, recognizer(waveform).argmax(dim=1)


@pytest.mark.parametrize("targeted", [False, True])
def test_the_l2_walk_ends_at_the_nearest_hyperplane(targeted):
    recognizer, waveform, labels = problem()
    wanted = 1 - labels if targeted else labels
    optimal = smallest_norm(recognizer, waveform, wanted, targeted)
    found = hop_skip_jump(decisions(recognizer), waveform, wanted, max_queries=3000, targeted=targeted)
    assert Margin().succeeded(recognizer(found), wanted, targeted).all()
    ratio = norms(found - waveform, "l2") / optimal
    assert ratio.max() <= 1.06
    assert ratio.min() >= 0.999


def test_the_linf_walk_ends_near_the_margin_over_the_l1_norm():
    recognizer, waveform, labels = problem()
    scores = recognizer(waveform)
    optimal = (scores[:, 0] - scores[:, 1]).abs() / (recognizer.weights[0] - recognizer.weights[1]).abs().sum()
    found = hop_skip_jump(decisions(recognizer), waveform, labels, norm="linf", max_queries=3000)
    assert Margin().succeeded(recognizer(found), labels, targeted=False).all()
    ratio = norms(found - waveform, "linf") / optimal
    assert ratio.max() <= 1.2
    assert ratio.min() >= 0.999


def test_more_queries_come_nearer():
    recognizer, waveform, labels = problem(num_speakers=4)
    sizes = [
        norms(hop_skip_jump(recognizer, waveform, labels, max_queries=queries) - waveform, "l2")
        for queries in (200, 500, 2000)
    ]
    assert (sizes[1] <= sizes[0]).all()
    assert (sizes[2] < 0.95 * sizes[1]).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_a_target_is_approached_from_its_own_voice(norm):
    recognizer, waveform, labels = problem(time=200, num_speakers=5)
    targets = (labels + 1) % 5
    start = (waveform + 3 * recognizer.weights[targets]).clamp(-1, 1).detach()
    assert Margin().succeeded(recognizer(start), targets, targeted=True).all()
    settings = {"norm": norm, "max_queries": 1500, "targeted": True}
    found = hop_skip_jump(decisions(recognizer), waveform, targets, start=start, **settings)
    assert Margin().succeeded(recognizer(found), targets, targeted=True).all()
    assert found.abs().max() <= 1
    assert (norms(found - waveform, norm) < 0.7 * norms(start - waveform, norm)).all()


@pytest.mark.parametrize("max_queries", [1, 2, 10, 130, 1000])
def test_the_budget_of_queries_is_kept(max_queries):
    recognizer, waveform, labels = problem()
    counted = Counted(recognizer)
    start = speech_like(3, 80, seed=5)
    start = torch.where(Margin().succeeded(recognizer(start), labels, False)[:, None], start, -start)
    found = hop_skip_jump(counted, waveform, labels, start=start, max_queries=max_queries)
    assert counted.forwards <= 3 * max_queries
    if max_queries >= 2:
        assert Margin().succeeded(recognizer(found), labels, targeted=False).all()
    if max_queries == 1000:
        assert counted.forwards >= 3 * 750  # the next round would not fit


def test_rows_that_succeed_already_or_never_come_back_as_they_are():
    recognizer, waveform, labels = problem(num_speakers=3)
    labels[0] = (labels[0] + 1) % 3
    start = waveform.clone()
    start[1] = (waveform[1] - 2 * recognizer.weights[labels[1]]).detach().clamp(-1, 1)
    found = hop_skip_jump(recognizer, waveform, labels, start=start, max_queries=300)
    assert torch.equal(found[0], waveform[0])
    assert not torch.equal(found[1], waveform[1])
    assert torch.equal(found[2], waveform[2])


def test_the_generator_alone_decides():
    recognizer, waveform, labels = problem()

    def run(seed, batch_size=64):
        generator = torch.Generator().manual_seed(seed)
        settings = {"max_queries": 400, "batch_size": batch_size}
        return hop_skip_jump(recognizer, waveform, labels, generator=generator, **settings)

    assert torch.equal(run(0), run(0))
    torch.testing.assert_close(run(0), run(0, batch_size=7), rtol=0, atol=1e-4)
    assert not torch.equal(run(0), run(1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_queries": 0}, "max_queries must be at least 1, got 100 and 0"),
        ({"initial_probes": 0}, "initial_probes and max_queries must be at least 1, got 0 and"),
        ({"start": torch.zeros(1, 80)}, r"start must have the waveform's shape \(3, 80\), got \(1, 80\)"),
        ({"norm": "l1"}, "norm must be one of linf, l2, got 'l1'"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        hop_skip_jump(*problem(), **settings)


def test_it_comes_as_near_as_the_toolbox_with_as_many_queries():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the toolbox imports more than is there
        evasion = pytest.importorskip("art.attacks.evasion", reason="needs adversarial-robustness-toolbox")
        from art.estimators.classification import PyTorchClassifier
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 4)).eval()
    waveform = speech_like(2, 64, peak=0.9)
    labels = network(waveform).argmax(dim=1)
    counted = Counted(lambda waveform: network(waveform.float()))  # the toolbox asks in float64 now and then
    classifier = PyTorchClassifier(counted, nn.CrossEntropyLoss(), (64,), 4, clip_values=(-1.0, 1.0), device_type="cpu")
    attack = evasion.HopSkipJump(classifier, targeted=False, max_iter=4, init_eval=100, batch_size=64, verbose=False)
    theirs = torch.from_numpy(attack.generate(waveform.numpy(), labels.numpy()))
    ours = hop_skip_jump(network, waveform, labels, max_queries=counted.forwards // len(waveform))
    assert Margin().succeeded(network(ours), labels, targeted=False).all()
    assert (norms(ours - waveform, "l2") <= 1.1 * norms(theirs - waveform, "l2")).all()


def test_probes_that_all_succeed_point_the_same_way_in_chunks_of_any_size():
    """All but the clean waveform succeeds; four of a hundred probes at a time do not sum to 1 as fractions."""

    def recognizer(waveform):
        clean = (waveform == 0).all(dim=1)
        return torch.stack([clean, ~clean], dim=1).float()

    waveform, labels = torch.zeros(16, 400), torch.zeros(16, dtype=torch.long)
    settings = {"start": 0.5 * torch.ones(16, 400), "max_queries": 150}  # one round
    found = [
        hop_skip_jump(recognizer, waveform, labels, batch_size=batch_size, **settings) for batch_size in (64, 1600)
    ]
    directions = [nn.functional.normalize(one, dim=1) for one in found]
    torch.testing.assert_close(*directions, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("value", "message"), [(1.5, "got a peak of 1.5"), (float("nan"), "got a peak of nan")])
def test_a_start_that_is_no_waveform_is_named(value, message):
    start = torch.zeros(3, 80)
    start[1, 2] = value
    with pytest.raises(ValueError, match=rf"start must lie in \[-1, 1\], {message}"):
        hop_skip_jump(*problem(), start=start)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_start_may_lie_on_another_device():
    recognizer, waveform, labels = (one.cuda() for one in problem())
    start = (waveform - 2 * recognizer.weights[labels]).detach().clamp(-1, 1)
    settings = {"max_queries": 300}
    found = hop_skip_jump(recognizer, waveform, labels, start=start.cpu(), **settings)
    assert torch.equal(found, hop_skip_jump(recognizer, waveform, labels, start=start, **settings))
    assert Margin().succeeded(recognizer(found), labels, targeted=False).all()


def test_a_start_may_be_of_another_precision():
    recognizer, waveform, labels = problem()
    start = (waveform - 2 * recognizer.weights[labels]).detach().clamp(-1, 1)
    settings = {"max_queries": 300}
    found = hop_skip_jump(recognizer, waveform, labels, start=start.double(), **settings)
    assert torch.equal(found, hop_skip_jump(recognizer, waveform, labels, start=start, **settings))
