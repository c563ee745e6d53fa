import copy
import math

import pytest
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader

from voxcert.encoders.base import Encoder
from voxcert.encoders.checkpoint import save_checkpoint
from voxcert.training.encoder_module import EncoderModule
from voxcert.training.losses import Consistency, Stability
from voxcert.training.noise import Fixed


def state(module):
    return copy.deepcopy(module.state_dict())


def test_fit_learns_and_validates(module, data, trainer):
    before = state(module)
    fitted = trainer()
    fitted.fit(module, datamodule=data)
    assert 0 <= fitted.callback_metrics["val/accuracy"] <= 1
    assert torch.isfinite(fitted.callback_metrics["train/loss"])
    assert any(not torch.equal(before[name], value) for name, value in module.state_dict().items())


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
def test_options_work_together(encoder, data, trainer, precision):
    module = EncoderModule(encoder, 4, noise=Fixed(0.01), num_noise=2, regularizer=Consistency())
    fitted = trainer(precision=precision, accumulate_grad_batches=2)
    fitted.fit(module, datamodule=data)
    assert fitted.callback_metrics["train/regularizer"] > 0


class Nearly(Encoder):
    """Embeds a constant waveform at the angle that it says."""

    dim = 2

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def embed(self, waveform):
        """Unit vectors (batch, 2)."""
        angle = self.weight * waveform.mean(dim=1)
        return torch.stack([angle.cos(), angle.sin()], dim=1)


def test_validation_tells_speakers_apart_that_half_precision_cannot(trainer):
    """Two speakers 0.01 apart: cosines 1 and 0.99995, both 1 in bf16, where the first name would win."""
    angles = torch.tensor([0.0, 0.01])
    batch = {"waveform": angles[:, None].expand(2, 100), "speaker": ["a", "b"], "utterance": ["a1", "b1"]}
    data = LightningDataModule()
    data.val_dataloader = lambda: DataLoader([batch], batch_size=None)
    data.enrollment_dataloader = lambda stage: [batch]
    (metrics,) = trainer(precision="bf16-mixed").validate(EncoderModule(Nearly(), 2), datamodule=data, verbose=False)
    assert metrics["val/accuracy"] == 1


def test_stability_classifies_the_clean_view_alone(encoder):
    module = EncoderModule(encoder, 4, noise=Fixed(0.5), regularizer=Stability(weight=0.0)).eval()
    module.log = module.log_dict = lambda *_, **__: None
    module._current_margin = lambda: 0.2
    waveform, label = torch.randn(2, 4_000), torch.tensor([0, 3])
    loss = module.training_step({"waveform": waveform, "label": label}, 0)
    clean = module.criterion(module.criterion.logits(module(waveform)), label)
    torch.testing.assert_close(loss, clean)


def test_frozen_modules_stay_with_their_statistics(encoder, data, trainer, tmp_path):
    save_checkpoint(encoder, tmp_path / "start", {})
    options = {"noise": Fixed(0.01), "init_from": str(tmp_path / "start")}
    module = EncoderModule(encoder, 4, freeze=["encoder.network.blocks"], **options)
    with pytest.raises(ValueError, match=r"freeze must name modules such as encoder.network, got 'encoder.blocks'"):
        EncoderModule(encoder, 4, freeze=["encoder.blocks"], **options)
    before = state(module)
    trainer().fit(module, datamodule=data)
    after = module.state_dict()
    frozen = [name for name in before if name.startswith("encoder.network.blocks")]
    assert frozen
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    assert not torch.equal(before["encoder.network.fc.conv.weight"], after["encoder.network.fc.conv.weight"])


def test_learning_rate_groups(encoder, data, trainer):
    module = EncoderModule(encoder, 4, lr=1e-2, lr_multipliers={"encoder": 0.1})
    fitted = trainer()
    fitted.fit(module, datamodule=data)
    groups = fitted.optimizers[0].param_groups
    assert sorted(group["max_lr"] for group in groups) == pytest.approx([1e-3, 1e-2])
    assert sum(len(group["params"]) for group in groups) == len(list(module.parameters()))


def test_margin_rises_to_its_value(module, data, trainer):
    margins = []
    module.on_train_batch_end = lambda *_: margins.append(module.criterion.margin)
    trainer(max_epochs=4).fit(module, datamodule=data)
    assert margins[0] == 0
    assert margins[-1] == pytest.approx(0.2)
    assert margins == sorted(margins)


def test_starts_from_a_checkpoint_folder(encoder, tmp_path):
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.5)
    save_checkpoint(encoder, tmp_path, {})
    fresh = type(encoder)(**encoder.config["init_args"])
    module = EncoderModule(fresh, 4, init_from=str(tmp_path))
    for name, value in encoder.state_dict().items():
        torch.testing.assert_close(module.encoder.state_dict()[name], value)


def test_resumed_training_equals_uninterrupted_training(encoder, data, trainer, tmp_path):
    """The same number of steps in one go and in two gives the same weights."""
    twin = copy.deepcopy(encoder)
    torch.manual_seed(0)
    whole = EncoderModule(encoder, 4)
    torch.manual_seed(0)
    half = EncoderModule(twin, 4)
    torch.manual_seed(1)
    trainer(max_epochs=4).fit(whole, datamodule=data)

    class Stop(Exception):
        """The crash."""

    def crash():
        if half.current_epoch == 2:
            raise Stop

    torch.manual_seed(1)
    first = trainer(max_epochs=4)
    half.on_train_epoch_end = lambda: first.save_checkpoint(tmp_path / "half.ckpt", weights_only=False)
    half.on_train_epoch_start = crash
    with pytest.raises(Stop):
        first.fit(half, datamodule=data)
    random_state = torch.get_rng_state()

    resumed = EncoderModule(copy.deepcopy(encoder), 4)
    load = resumed.on_load_checkpoint

    def load_with_random_state(checkpoint):  # a resumed run draws otherwise than the one that was not stopped
        load(checkpoint)
        torch.set_rng_state(random_state)

    resumed.on_load_checkpoint = load_with_random_state
    trainer(max_epochs=4).fit(resumed, datamodule=data, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_noise": 0}, "num_noise must be at least 1, and 1 without noise, got 0"),
        ({"num_noise": 4}, "num_noise must be at least 1, and 1 without noise, got 4"),
        ({"regularizer": Consistency()}, "regularizer compares noisy views"),
        ({"regularizer": Consistency(), "noise": Fixed(0.1)}, "num_noise to at least 2"),
        ({"margin_warmup": 2}, r"margin_warmup must be a share of the steps in \[0, 1\], got 2"),
        ({"freeze": ["encoder.network"]}, "freeze keeps weights that init_from brings"),
        (
            {"lr_multipliers": {"encodr": 0.1}},
            "lr_multipliers must name parameters such as encoder.network, got 'encodr'",
        ),
        ({"init_from": "nowhere"}, "nowhere does not exist"),
        ({"lr": -1e-2}, "lr must be positive and finite, got -0.01"),
        ({"scale": -30.0}, "scale must be positive and finite, got -30.0"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0 and finite, got -1.0"),
        ({"lr_multipliers": {"encoder": -1}}, "lr_multipliers of encoder must be at least 0 and finite, got -1"),
        ({"classification_weight": math.inf}, "classification_weight must be positive, .* got inf"),
    ],
)
def test_bad_options_are_named(encoder, options, message):
    with pytest.raises(ValueError, match=message):
        EncoderModule(encoder, 4, **options)


@pytest.mark.parametrize("steps", [1, 5])
def test_short_runs_have_a_schedule_too(module, data, trainer, steps):
    fitted = trainer(max_epochs=-1, max_steps=steps)
    fitted.fit(module, datamodule=data)
    assert fitted.global_step == steps


def test_schedules_need_an_end(module, data, trainer):
    with pytest.raises(ValueError, match="trainer.max_epochs or trainer.max_steps must be set"):
        trainer(max_epochs=-1).fit(module, datamodule=data)
