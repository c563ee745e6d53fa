import copy

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from voxcert.training.encoder_module import EncoderModule
from voxcert.training.noise import Fixed
from voxcert.training.resuming import check_steps, resume


@pytest.fixture
def begun(encoder, data, trainer, tmp_path):
    """A checkpoint after the first of two epochs."""
    first, module = trainer(max_epochs=2), EncoderModule(copy.deepcopy(encoder), 4, lr=1e-3)

    def save_the_first():
        if module.current_epoch == 0:
            first.save_checkpoint(tmp_path / "first.ckpt", weights_only=False)

    module.on_train_epoch_end = save_the_first
    first.fit(module, datamodule=data)
    return tmp_path / "first.ckpt"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 1e-5}, "must keep its lr 0.001, got 1e-05"),
        ({"lr": 1e-3, "weight_decay": 0.5}, "must keep its weight_decay 0.01, got 0.5"),
        ({"lr": 1e-3, "lr_warmup": 0.5}, "must keep its lr_warmup 0.2, got 0.5"),
        (
            {"lr": 1e-3, "lr_multipliers": {"encoder": 0.5}},
            r"must keep its lr_multipliers None, got \{'encoder': 0.5\}",
        ),
    ],
)
def test_rates_that_would_do_nothing_are_refused(begun, encoder, data, trainer, settings, message):
    other = EncoderModule(copy.deepcopy(encoder), 4, **settings)
    with pytest.raises(ValueError, match=message):
        trainer(max_epochs=2).fit(other, datamodule=data, ckpt_path=begun, weights_only=True)


def test_what_is_only_validated_may_have_any_rate(begun, encoder, data, trainer):
    other = EncoderModule(copy.deepcopy(encoder), 4, lr=1e-5)
    trainer().validate(other, datamodule=data, ckpt_path=begun, weights_only=True, verbose=False)
    resume(EncoderModule(encoder, 4, lr=1e-5), {"hyper_parameters": {"lr": 1e-3}}, ("lr",))  # and what is exported


@pytest.mark.filterwarnings("ignore:Checkpoint directory")  # the resumed run keeps the folder
@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_resumed_run_does_not_hear_its_first_epoch_again(encoder, data, trainer, tmp_path, num_workers):
    """Neither the same crops in the same order nor the same noise, though the seed is that of the beginning."""
    data.num_workers = num_workers
    checkpoint = ModelCheckpoint(tmp_path / "kept", "{epoch}", save_top_k=-1)
    clean, noise = [], []

    class Heard(EncoderModule):
        def _views(self, waveform):
            views = super()._views(waveform)
            clean.append(waveform)
            noise.append((views - waveform)[0])
            return views

    for begun in (None, tmp_path / "kept" / "epoch=0.ckpt"):
        torch.manual_seed(0)
        fitted = trainer(max_epochs=2, callbacks=[checkpoint], enable_checkpointing=True)
        module = Heard(copy.deepcopy(encoder), 4, noise=Fixed(0.01))
        fitted.fit(module, datamodule=data, ckpt_path=begun, weights_only=True)
    steps = len(clean) // 3
    assert steps > 1
    for drawn in (clean, noise):
        first, _, resumed = drawn[:steps], drawn[steps : 2 * steps], drawn[2 * steps :]
        assert not any(torch.equal(one, again) for one, again in zip(first, resumed, strict=True))


def test_a_schedule_ends_where_it_was_planned_to():
    check_steps(8, 8.0)
    with pytest.raises(ValueError, match="a resumed run must keep its 8 steps .* got 16; to train longer, export"):
        check_steps(8, 16.0)


def test_the_schedule_may_rise_to_its_end(encoder, data, trainer):
    module = EncoderModule(encoder, 4, lr_warmup=1.0)
    fitted = trainer(max_epochs=1)
    fitted.fit(module, datamodule=data)
    assert fitted.global_step == fitted.estimated_stepping_batches
    assert all(torch.isfinite(weight).all() for weight in module.parameters())
