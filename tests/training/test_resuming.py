import copy
import warnings

import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint

from voxcert.encoders.checkpoint import CheckpointError, save_checkpoint
from voxcert.encoders.ecapa import ECAPA
from voxcert.purifiers import DiffusionPurifier, PurificationScheduler, SpectralDiffWave
from voxcert.training.encoder_module import EncoderModule
from voxcert.training.noise import Fixed
from voxcert.training.purifier_module import PurifierModule
from voxcert.training.resuming import check_ckpt_path, check_kept, check_weights


@pytest.fixture
def begun(encoder, data, trainer, save_the_first):
    """A checkpoint after the first of two epochs."""
    first, module = trainer(max_epochs=2), EncoderModule(copy.deepcopy(encoder), 4, lr=1e-3)
    kept = save_the_first(first, module)
    first.fit(module, datamodule=data)
    return kept


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
    check_kept(EncoderModule(encoder, 4, lr=1e-5), {"hyper_parameters": {"lr": 1e-3}}, ("lr",))  # and what is exported


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": 12}, "must keep its encoder.dim 24, got 12"),
        ({"hop_ms": 20}, "must keep its encoder.hop_ms 10, got 20"),  # the same weights, heard otherwise
    ],
)
def test_another_encoder_is_refused(begun, encoder, data, trainer, changes, message):
    other = EncoderModule(ECAPA(**encoder.config["init_args"] | changes), 4, lr=1e-3)
    with pytest.raises(ValueError, match=message):
        trainer(max_epochs=2).fit(other, datamodule=data, ckpt_path=begun, weights_only=True)


def test_a_checkpoint_of_another_kind_of_module_is_said_to_be_one(begun, data, trainer):
    """Not that the learning rate is another."""
    purifier = DiffusionPurifier(
        SpectralDiffWave(channels=8, num_layers=2, dilation_cycle=2, step_dim=16),
        PurificationScheduler(conditional=False),
    )
    with pytest.raises(ValueError, match=r"ckpt_path must be a checkpoint of the model at hand, whose purifier\."):
        trainer(max_epochs=2).fit(PurifierModule(purifier), datamodule=data, ckpt_path=begun, weights_only=True)


def test_averaged_weights_do_not_go_on_without_their_callback(encoder, data, trainer, tmp_path):
    fitted = trainer(callbacks=[EMAWeightAveraging(decay=0.9)])
    fitted.fit(EncoderModule(copy.deepcopy(encoder), 4), datamodule=data)
    fitted.save_checkpoint(tmp_path / "averaged.ckpt")
    again = {"datamodule": data, "ckpt_path": tmp_path / "averaged.ckpt", "weights_only": True}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Be aware that when using `ckpt_path`")
        with pytest.raises(ValueError, match="a resumed run must keep its weight averaging True, got False"):
            trainer().fit(EncoderModule(encoder, 4), **again)
        trainer().validate(EncoderModule(encoder, 4), **again, verbose=False)


def test_other_frozen_modules_are_refused(begun, encoder, data, trainer, tmp_path):
    save_checkpoint(encoder, tmp_path / "start", {})
    other = EncoderModule(encoder, 4, lr=1e-3, init_from=str(tmp_path / "start"), freeze=["encoder.network.fc"])
    with pytest.raises(ValueError, match=r"must keep its freeze None, got \['encoder.network.fc'\]"):
        trainer(max_epochs=2).fit(other, datamodule=data, ckpt_path=begun, weights_only=True)


def test_weights_of_another_model_are_named(begun, encoder, data, trainer):
    """Also where nothing is trained on, and whatever it is that differs."""
    other = EncoderModule(ECAPA(**encoder.config["init_args"] | {"dim": 12}), 4)
    message = r"fc.conv.weight is of shape \(12, .*, got one where it is of shape \(24, .*: set model.init_args as in"
    with pytest.raises(ValueError, match=message):
        trainer().validate(other, datamodule=data, ckpt_path=begun, weights_only=True)
    module = EncoderModule(encoder, 4)
    state = module.state_dict()
    check_weights(module, {"state_dict": state})
    check_weights(module, {"global_step": 3})  # of FSDP, which has loaded the weights
    with pytest.raises(ValueError, match="whose extra is absent, got one where it is of shape"):
        check_weights(module, {"state_dict": state | {"extra": torch.zeros(3)}})
    del state["criterion.weight"]
    with pytest.raises(ValueError, match=r"whose criterion.weight is of shape .*, got one where it is absent"):
        check_weights(module, {"state_dict": state})


def test_a_path_to_go_on_from_is_a_checkpoint_of_a_training(begun, tmp_path):
    for path in (begun, None, "last", "s3://bucket/last.ckpt"):
        check_ckpt_path(path and str(path))
    torch.save({"weight": torch.zeros(2)}, tmp_path / "plain.pt")
    (tmp_path / "text.ckpt").write_text("hello")
    (tmp_path / "torn.ckpt").write_bytes(begun.read_bytes()[:1000])
    for name in ("plain.pt", "text.ckpt", "torn.ckpt", "."):
        with pytest.raises(CheckpointError, match="ckpt_path must be a checkpoint that a training wrote.*init_from"):
            check_ckpt_path(str(tmp_path / name))
    with pytest.raises(CheckpointError, match="checkpoint .*missing.ckpt does not exist"):
        check_ckpt_path(str(tmp_path / "missing.ckpt"))


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


def test_the_schedule_may_rise_to_its_end(encoder, data, trainer):
    module = EncoderModule(encoder, 4, lr_warmup=1.0)
    fitted = trainer(max_epochs=1)
    fitted.fit(module, datamodule=data)
    assert fitted.global_step == fitted.estimated_stepping_batches
    assert all(torch.isfinite(weight).all() for weight in module.parameters())
