import copy
import math

import pytest
import torch
import yaml
from torch import nn

from voxcert.attacks import Margin
from voxcert.attacks.budgets import norms, snr_at_epsilon
from voxcert.attacks.call_shape import NoGradientError
from voxcert.attacks.generator.attack import ssed
from voxcert.attacks.generator.checkpoint import load_generator
from voxcert.attacks.generator.network import SaliencyGenerator
from voxcert.cli.train import train
from voxcert.data import write_manifest
from voxcert.encoders.base import enroll
from voxcert.encoders.checkpoint import load_checkpoint, read_card, save_checkpoint
from voxcert.training.export import export
from voxcert.training.generator_losses import angular_loss, norm_loss, saliency_loss
from voxcert.training.generator_module import GeneratorModule

SIZES = {"channels": [4, 6, 8], "strides": [4, 2, 2], "dilations": [1]}


@pytest.fixture
def data(data):
    """The espeak voices, two of them held out for the test."""
    data.num_test_speakers = 2
    return data


@pytest.fixture
def make(victim):
    def make(objective=None, generator=(), **settings):
        torch.manual_seed(1)
        network = SaliencyGenerator(**SIZES | dict(generator))
        return GeneratorModule(network, victim, objective or Margin(), **settings)

    return make


def test_saliency_loss_by_hand():
    # Rows stretch to (0, 1, 0.5) and (1, 0, 0): norms sqrt(1.25) and 1.
    saliency = torch.tensor([[0.2, 0.6, 0.4], [0.9, 0.1, 0.1]])
    assert saliency_loss(saliency) == pytest.approx((math.sqrt(1.25) + 1) / 2)
    constant = torch.ones(2, 3, requires_grad=True)
    loss = saliency_loss(constant)
    loss.backward()
    assert loss == 0
    assert torch.isfinite(constant.grad).all()


def test_norm_losses_by_hand():
    waveform, perturbation = torch.tensor([[0.3, -0.3, 0.3, -0.3]]), torch.tensor([[0.5, -0.25, 0.1, 0.0]])
    forged, energy = waveform + perturbation, 0.25 + 0.0625 + 0.01
    assert norm_loss(waveform, forged, "literal") == pytest.approx(0.25**2 / 4)
    assert norm_loss(waveform, forged, "hinge") == pytest.approx(energy / 4)
    assert norm_loss(waveform, forged, "hinge", 0.2) == pytest.approx((0.3**2 + 0.05**2) / 4)
    assert norm_loss(waveform, forged, "relative") == pytest.approx(energy / 4 / 0.09)


def test_relative_norm_is_the_inverse_of_the_ratio_of_signal_to_noise_until_silence():
    waveform, perturbation = torch.randn(3, 100), 0.01 * torch.randn(3, 100)
    loud, quiet = waveform, 0.1 * waveform
    expected = (10 ** (-snr_at_epsilon(waveform, norms(perturbation, "l2")) / 10)).mean()
    torch.testing.assert_close(norm_loss(loud, loud + perturbation, "relative"), expected)
    torch.testing.assert_close(norm_loss(quiet, quiet + 0.1 * perturbation, "relative"), expected)
    silent = torch.zeros(1, 100)
    assert norm_loss(silent, silent + 0.001, "relative") == pytest.approx(1e-6 / 1e-5)


def test_beyond_kappa_the_speaker_loss_gains_nothing(make, encoder):
    module, waveform = make(kappa=0.05, norm_weight=0.0), 0.1 * torch.randn(4, 4000)
    module._victims.append(enroll(encoder.eval().requires_grad_(False), [{"waveform": waveform, "speaker": [*"abcd"]}]))
    margins = torch.tensor([0.2, -0.01, -0.05, -0.3])
    object.__setattr__(module.objective, "loss", lambda scores, labels, targeted: margins)
    module.generator.target = "a"
    terms, _ = module._terms(waveform, module._training_targets(4))
    assert terms["speaker"] == pytest.approx((0.2 - 0.01 - 0.05 - 0.05) / 4)


def test_angular_loss_by_hand():
    embedding, source = torch.tensor([[3.0, 4.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    assert angular_loss(embedding, source) == pytest.approx((0.6 + 0) / 2)
    assert angular_loss(torch.zeros(1, 2), source[:1]) == 0


@pytest.mark.parametrize("threshold", [None, 2.0])
def test_training_loss_by_hand(make, data, trainer, threshold):
    weights = {"saliency_weight": 0.1, "norm_weight": 20.0, "speaker_weight": 3.0, "angular_weight": 0.5}
    module = make(Margin(threshold), num_enrolled=3, **weights)
    fitted = trainer(max_steps=1)
    fitted.fit(module, datamodule=data)
    module.eval()  # so that both passes use the same statistics
    waveform = 0.1 * torch.randn(4, 5000)
    terms, _ = module._terms(waveform, module._training_targets(4))
    noise, saliency = module.generator(waveform)
    forged = waveform + 0.05 * noise * saliency
    z, source = module.victim.encoder(forged), module.victim.encoder(waveform)
    scores, index = z @ module.victim.prototypes.T, module.victim.speakers.index(module.generator.target)
    others = scores[:, [i for i in range(3) if i != index]].amax(dim=1)
    others = others if threshold is None else others.clamp(min=threshold)
    stretched = (saliency - saliency.amin(1, True)) / (saliency.amax(1, True) - saliency.amin(1, True))
    expected = 0.1 * stretched.square().sum(1).sqrt().mean() + 20 * (forged - waveform).square().mean()
    expected = expected + 3 * (others - scores[:, index]).mean() + 0.5 * (z * source).sum(1).mean()
    torch.testing.assert_close(sum(terms.values()), expected)


def test_the_generator_alone_learns(make, data, trainer):
    module = make()
    start = copy.deepcopy(module.generator.state_dict())
    fitted = trainer()
    fitted.fit(module, datamodule=data)
    victim, original = module.victim.encoder, load_checkpoint(module.hparams.victim)
    assert not victim.training
    assert all(parameter.grad is None for parameter in victim.parameters())
    assert all(torch.equal(value, original.state_dict()[name]) for name, value in victim.state_dict().items())
    terms, _ = module._terms(0.1 * torch.randn(4, 5000), module._training_targets(4))
    sum(terms.values()).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.generator.parameters())
    assert all(parameter.grad is None for parameter in victim.parameters())
    moved = [not torch.equal(value, start[name]) for name, value in module.generator.state_dict().items()]
    assert all(moved)
    assert {name.partition(".")[0] for name in module.state_dict()} == {"generator"}


def test_training_forges_the_target(make, encoder):
    """A loud budget and a random victim: soon every example is taken for the target."""
    module, waveform = make(generator={"epsilon": 0.3}, norm_weight=0.0, lr=1e-2), 0.1 * torch.randn(4, 4000)
    batches = [{"waveform": 0.1 * torch.randn(3, 4000), "speaker": ["ann", "bob", "eve"]}]
    module._victims.append(enroll(encoder.eval().requires_grad_(False), batches))
    module.generator.target = "eve"
    optimizer = torch.optim.Adam(module.generator.parameters(), lr=module.hparams.lr)
    target, hits = module._training_targets(4), []
    for _ in range(40):
        terms, scores = module._terms(waveform, target)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        hits.append(module.objective.succeeded(scores, target, True).float().mean())
    assert hits[0] < 0.5
    assert min(hits[-5:]) == 1


def test_training_forges_whomever_it_is_told(make, encoder):
    """As above, each example for three targets at once, so that it is what is told that decides who is forged."""
    module = make(target="any", generator={"epsilon": 0.3, "target_dim": encoder.dim}, norm_weight=0.0, lr=1e-2)
    batches = [{"waveform": 0.1 * torch.randn(3, 4000), "speaker": ["ann", "bob", "eve"]}]
    module._victims.append(enroll(encoder.eval().requires_grad_(False), batches))
    waveform, target = 0.1 * torch.randn(3, 4000).repeat(3, 1), torch.arange(3).repeat_interleave(3)
    optimizer = torch.optim.Adam(module.generator.parameters(), lr=module.hparams.lr)
    losses, hits = [], []
    for _ in range(100):
        terms, scores = module._terms(waveform, target)
        loss = sum(terms.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        hits.append(module.objective.succeeded(scores, target, True).float().mean())
    assert max(losses[-5:]) < 0.7 * losses[0]
    assert hits[0] < 0.5
    assert min(hits[-5:]) == 1


def test_starts_from_another_generator(make, tmp_path):
    other = make().generator
    with torch.no_grad():
        other.encoder[0][0].weight.fill_(0.5)
    save_checkpoint(other, tmp_path / "other", {})
    started = make(init_from=str(tmp_path / "other")).generator
    for name, value in other.state_dict().items():
        assert torch.equal(value, started.state_dict()[name]), name
    with pytest.raises(
        ValueError, match="init_from must be a generator of the same network, whose channels is .4, 6, 10., got"
    ):
        make(init_from=str(tmp_path / "other"), generator={"channels": [4, 6, 10]})


def test_another_network_is_refused_where_its_weights_fit(make, data, trainer, tmp_path):
    """Convolutions of other dilations have weights of the same shape, and compute something else."""
    save_checkpoint(make().generator, tmp_path / "other", {})
    dilated = {"dilations": [2]}
    with pytest.raises(ValueError, match="same network, whose dilations is .2., got .*other with .1."):
        make(init_from=str(tmp_path / "other"), generator=dilated)
    fitted = trainer(limit_val_batches=0)
    fitted.fit(make(), datamodule=data)
    fitted.save_checkpoint(tmp_path / "one.ckpt")
    again = {"datamodule": data, "ckpt_path": tmp_path / "one.ckpt", "weights_only": True}
    with pytest.raises(ValueError, match="a resumed run must keep its generator.dilations .1., got .2."):
        trainer(limit_val_batches=0).fit(make(generator=dilated), **again)
    trainer(limit_val_batches=0).fit(make(generator={"epsilon": 0.1}), **again)


def test_for_any_target_it_may_start_from_a_generator_for_one(make, tmp_path):
    other = make().generator
    save_checkpoint(other, tmp_path / "one", {})
    fresh = make(generator={"target_dim": 24}).generator.state_dict()  # make seeds the weights
    started = make(init_from=str(tmp_path / "one"), generator={"target_dim": 24}).generator
    for name, value in started.state_dict().items():
        expected = fresh if name.startswith("condition.") else other.state_dict()
        assert torch.equal(value, expected[name]), name
    save_checkpoint(started, tmp_path / "any", {})
    with pytest.raises(ValueError, match="init_from must be a generator of the same network"):
        make(init_from=str(tmp_path / "any"))


def test_a_loaded_generator_is_trained_in_training_mode(make, victim, data, trainer, tmp_path):
    """What a checkpoint folder holds comes in eval mode; batch statistics are to move with the weights."""
    save_checkpoint(make().generator, tmp_path, {})
    module = GeneratorModule(load_generator(tmp_path), victim, Margin())
    before = {name: value.clone() for name, value in module.generator.named_buffers() if "running_mean" in name}
    trainer(limit_val_batches=0).fit(module, datamodule=data)
    after = dict(module.generator.named_buffers())
    assert before
    assert all(not torch.equal(value, after[name]) for name, value in before.items())


def test_the_schedule_needs_an_end(make, data, trainer):
    with pytest.raises(ValueError, match="trainer.max_epochs or trainer.max_steps must be set"):
        trainer(max_epochs=-1, max_time={"seconds": 1}).fit(make(), datamodule=data)


def test_the_learning_rate_falls_to_zero(make, data, trainer):
    fitted = trainer(max_epochs=2)
    fitted.fit(make(lr=0.01), datamodule=data)
    assert fitted.lr_scheduler_configs[0].scheduler.get_last_lr() == pytest.approx([0.0], abs=1e-12)


def test_validation_measures_the_attack(make, data, trainer):
    module = make()
    fitted = trainer()
    fitted.fit(module, datamodule=data)
    metrics = {name: fitted.callback_metrics[f"val/{name}"] for name in ("tasr", "tasr_unattacked", "snr")}
    recognizer = enroll(load_checkpoint(module.hparams.victim), data.enrollment_dataloader("test"))
    assert module.victim.speakers == recognizer.speakers
    target = recognizer.speakers.index(module.generator.target)
    hits, before, snr = [], [], []
    items = data.items("val")
    for item in (items[index] for index in range(len(items))):
        x = item["waveform"][None]
        forged = ssed(recognizer, x, torch.tensor([target]), network=module.generator.eval(), targeted=True)
        if item["speaker"] != module.generator.target:
            hits.append(int(recognizer(forged).argmax()) == target)
            before.append(int(recognizer(x).argmax()) == target)
            snr.append(10 * math.log10(x.square().sum() / (forged - x).square().sum()))
    assert hits
    assert metrics["tasr"] == pytest.approx(sum(hits) / len(hits))
    assert metrics["tasr_unattacked"] == pytest.approx(sum(before) / len(before))
    assert metrics["snr"] == pytest.approx(sum(snr) / len(snr), abs=1e-3)


def test_a_generator_that_ends_in_silence_is_pointed_out(make, data, trainer):
    module = make(generator={"epsilon": 1e-9}, norm_weight=50.0)
    with pytest.warns(UserWarning, match=r"nothing \(val/snr is \d+ dB\).*epsilon.*1e-09.*norm_weight, got 50"):
        trainer().fit(module, datamodule=data)


def test_a_target_may_be_among_those_who_validate_and_not_alone(make, data, trainer):
    first = data.items("val")[0]["speaker"]
    data.batch_size = 1
    fitted = trainer(limit_train_batches=1, num_sanity_val_steps=1)  # hears the target alone, as the first batches may
    fitted.fit(make(target=first), datamodule=data)
    assert 0 <= fitted.callback_metrics["val/tasr"] <= 1
    with pytest.raises(ValueError, match=f"target must leave utterances of others to forge, got '{first}', who speaks"):
        trainer(limit_train_batches=1, limit_val_batches=1).fit(make(target=first), datamodule=data)


def test_any_target(make, data, trainer, encoder):
    module = make(target="any", generator={"target_dim": encoder.dim})
    fitted = trainer()
    fitted.fit(module, datamodule=data)
    assert module.generator.target is None
    assert len(set(module._training_targets(100).tolist())) == len(module.victim.speakers)
    chosen = [module._tested_target(item["utterance"]) for item in data.items("val")]
    assert len(set(chosen)) > 1
    assert 0 <= fitted.callback_metrics["val/tasr"] <= 1


def test_resumed_training_takes_the_same_steps(make, data, trainer, save_the_first):
    batches = [{"waveform": 0.1 * torch.randn(2, 4000), "label": torch.arange(2)} for _ in range(2)]
    data.train_dataloader = lambda: torch.utils.data.DataLoader(batches, batch_size=None)
    through, first = make(), trainer(max_epochs=2, limit_val_batches=0)
    half = save_the_first(first, through)
    first.fit(through, datamodule=data)
    resumed = make()
    with torch.no_grad():
        resumed.generator.noise[0].weight.zero_()  # what it starts from comes from the checkpoint
    last = trainer(max_epochs=2, limit_val_batches=0)
    last.fit(resumed, datamodule=data, ckpt_path=half, weights_only=True)
    for name, value in through.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    longer = trainer(max_epochs=3, limit_val_batches=0)
    with pytest.raises(ValueError, match="a resumed run must keep its 4 steps .* got 6"):
        longer.fit(make(), datamodule=data, ckpt_path=half, weights_only=True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "nobody"}, r"target must be 'random', 'any' or an enrolled speaker \(.*\), got 'nobody'"),
        ({"target": "any"}, "generator.target_dim must be 24 where target is 'any', got None"),
        ({"num_enrolled": 99}, "num_enrolled must be between 2 and the 6 speakers there are, got 99"),
    ],
)
def test_settings_that_do_not_fit_the_victim(make, data, trainer, settings, message):
    with pytest.raises(ValueError, match=message):
        trainer().fit(make(**settings), datamodule=data)


def test_a_victim_without_gradients_is_refused(make, data, trainer, encoder):
    """The generator would learn to be quiet and nothing else."""

    class Rounded(nn.Module):
        def forward(self, waveform):
            with torch.no_grad():
                return encoder(waveform)

    module = make()
    encoder.eval()
    module._victims.append(enroll(Rounded(), [{"waveform": torch.randn(2, 4000) / 10, "speaker": [*"ab"]}]))
    with pytest.raises(NoGradientError, match="victim must be differentiable with respect to its input"):
        trainer().fit(module, datamodule=data)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm_weight": -1}, "norm_weight must be at least 0, got -1"),
        ({"norm_threshold": -1}, "norm_threshold must be at least 0 and finite, got -1"),
        ({"lr": -1}, "lr must be positive and finite, got -1"),
        ({"norm": "Hinge"}, "norm must be one of hinge, literal, relative, got 'Hinge'"),
    ],
)
def test_numbers_without_a_meaning_are_refused(make, settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_a_generator_goes_on_forging_whom_it_learnt_to_forge(make, data, trainer, tmp_path):
    """Also one whose target was drawn, from voices that others may have joined since."""
    fitted, module = trainer(limit_val_batches=0), make()
    fitted.fit(module, datamodule=data)
    fitted.save_checkpoint(tmp_path / "one.ckpt")
    own = module.generator.target
    other = next(name for name in module.victim.speakers if name != own)
    options = {"datamodule": data, "ckpt_path": tmp_path / "one.ckpt", "weights_only": True}
    message = f"target must be '{own}', whom the generator in ckpt_path forges, got '{other}'"
    for run in ("fit", "validate", "test"):
        with pytest.raises(ValueError, match=message):
            getattr(trainer(), run)(make(target=other), **options)
    trainer().validate(make(target=own), **options, verbose=False)
    trainer().validate(make(), **options, verbose=False)


def test_another_network_is_named(make, data, trainer, tmp_path):
    fitted = trainer(limit_val_batches=0)
    fitted.fit(make(), datamodule=data)
    fitted.save_checkpoint(tmp_path / "one.ckpt")
    with pytest.raises(ValueError, match="ckpt_path must be a checkpoint of the model at hand, whose generator"):
        trainer().validate(make(generator={"channels": [4, 6, 10]}), datamodule=data, ckpt_path=tmp_path / "one.ckpt")


def test_a_named_target_is_among_the_enrolled(make, data, trainer):
    last = sorted({item["speaker"] for item in data.items("test")})[-1]
    for seed in range(2):
        module = make(target=last, num_enrolled=2, seed=seed)
        trainer(max_steps=1).fit(module, datamodule=data)
        assert module.generator.target == last
        assert last in module.victim.speakers
        assert len(module.victim.speakers) == 2


@pytest.mark.parametrize("told", [{}, {"target_dim": 24}])
def test_command_line_and_export(espeak, victim, tmp_path, told):
    write_manifest(espeak.utterances(), tmp_path / "manifest.csv")
    corpus = {"class_path": "voxcert.data.Manifest", "init_args": {"path": str(tmp_path / "manifest.csv")}}
    crops = {"crop_seconds": 1.0, "train_crop_seconds": 0.5, "batch_size": 4, "num_enroll": 2}
    logger = {
        "class_path": "lightning.pytorch.loggers.CSVLogger",
        "init_args": {"save_dir": str(tmp_path), "name": "ssed"},
    }
    config = {
        "data": {"corpus": corpus, "num_val_speakers": 2, "num_test_speakers": 2, **crops},
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False, "logger": logger},
        "model": {
            "class_path": "voxcert.training.generator_module.GeneratorModule",
            "init_args": {
                "generator": {
                    "class_path": "voxcert.attacks.generator.network.SaliencyGenerator",
                    "init_args": {**SIZES, **told, "epsilon": 0.02},
                },
                "victim": victim,
                "target": "any" if told else "random",
                "objective": {"class_path": "voxcert.attacks.Margin", "init_args": {"threshold": 0.5}},
            },
        },
    }
    (tmp_path / "ssed.yaml").write_text(yaml.safe_dump(config))
    cli = train(["fit", "--config", str(tmp_path / "ssed.yaml")])
    checkpoint = next((tmp_path / "ssed" / "version_0" / "checkpoints").glob("*.ckpt"))
    assert not [name for name in torch.load(checkpoint, weights_only=True)["state_dict"] if "generator." not in name]
    folder = export(checkpoint, tmp_path / "folder", command="python train.py fit")
    loaded, trained = load_generator(folder), cli.model.generator.eval()
    assert loaded.config == trained.config
    assert (loaded.target is None) if told else (loaded.target in cli.model.victim.speakers)
    given = (0.1 * torch.randn(2, 3001), *([cli.model.victim.prototypes[:2]] if told else []))
    assert all(torch.equal(a, b) for a, b in zip(loaded(*given), trained(*given), strict=True))
    training = read_card(folder)["training"]
    assert training["model"]["victim"] == "victim", "a card says nothing of the machine"
    assert training["model"]["objective"] == config["model"]["init_args"]["objective"]
    with pytest.raises(ValueError, match="target must not hold a checkpoint"):
        export(checkpoint, folder)


def test_validating_and_testing_alone_forge_the_same_target(make, data, trainer):
    module = make(target="random", generator={"epsilon": 0.2})
    used = []
    tested = module._tested_target
    module._tested_target = lambda utterance: used.append(tested(utterance)) or used[-1]
    data.distractors = True
    for run in ("validate", "test"):
        getattr(trainer(), run)(module, datamodule=data, verbose=False)
    assert set(used) == {module.victim.speakers.index(module.generator.target)}
    trainer().fit(module, datamodule=data)  # through a victim that validation enrolled


def test_success_is_judged_in_full_precision(make, data, trainer):
    module, seen = make(), []
    succeeded = module.objective.succeeded
    object.__setattr__(
        module.objective, "succeeded", lambda scores, *rest: seen.append(scores.dtype) or succeeded(scores, *rest)
    )
    trainer(precision="bf16-mixed").fit(module, datamodule=data)
    assert set(seen) == {torch.float32}
