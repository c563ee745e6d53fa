import math
from functools import partial

import lightning as L
import pytest
import torch
import torch.nn.functional as F

from voxcert.attacks import Margin, hop_skip_jump, pgd
from voxcert.encoders.sincnet import SincNet
from voxcert.training.attacked import perturbation_of
from voxcert.training.export import export
from voxcert.training.identification_module import IdentificationModule
from voxcert.training.noise import Fixed

SIZES = {"chunk_samples": 640, "num_filters": 4, "channels": 4, "dim": 8}


def network(num_classes=3, **changes):
    torch.manual_seed(0)
    return SincNet(num_classes, **SIZES | changes)


def tones(num=12):
    """Three speakers, each a pitch in noise."""
    label = torch.arange(num) % 3
    times = torch.arange(640) / 16_000
    pitch = torch.tensor([300.0, 900.0, 2700.0])[label]
    noise = 0.1 * torch.randn(num, 640, generator=torch.Generator().manual_seed(0))
    return {"waveform": 0.5 * torch.sin(2 * math.pi * pitch[:, None] * times) + noise, "label": label}


def fit(module, folder, steps=1, max_time=None, **options):
    batch = tones()
    items = [{name: value[index] for name, value in batch.items()} for index in range(len(batch["label"]))]
    loader = torch.utils.data.DataLoader(items, batch_size=len(items))
    trainer = L.Trainer(
        max_epochs=steps,
        max_time=max_time,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.fit(module, loader, **options)
    return trainer


def test_a_step_is_rmsprop_on_the_cross_entropy(tmp_path):
    module, twin = IdentificationModule(network(), 3), network()
    fit(module, tmp_path)
    optimizer = torch.optim.RMSprop(twin.parameters(), lr=1e-3, alpha=0.95, eps=1e-8)
    batch = tones()
    log_posteriors = twin.log_posteriors(batch["waveform"])
    (-log_posteriors[torch.arange(12), batch["label"]].mean()).backward()
    optimizer.step()
    for name, weight in module.encoder.state_dict().items():
        assert torch.allclose(weight, twin.state_dict()[name], atol=1e-6), name


def test_learns_to_tell_tones_apart(tmp_path):
    module = IdentificationModule(network(), 3, lr=3e-3, final_lr=1e-4)
    trainer = fit(module, tmp_path, steps=60)
    assert trainer.callback_metrics["train/frame_error"] == 0
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-4, rel=0.2)


def test_a_training_keeps_its_steps_unless_the_rate_is_constant(tmp_path):
    for final_lr in (1e-5, 1e-3):
        module = IdentificationModule(network(), 3, final_lr=final_lr)
        fit(module, tmp_path, steps=2).save_checkpoint(tmp_path / "two.ckpt")
        resume = partial(fit, module, tmp_path, steps=4, ckpt_path=tmp_path / "two.ckpt", weights_only=True)
        if final_lr < 1e-3:
            with pytest.raises(ValueError, match="a resumed run must keep its 2 steps .* got 4"):
                resume()
        else:
            assert resume().global_step == 4


def test_other_frozen_modules_and_another_network_are_refused(tmp_path):
    fit(IdentificationModule(network(), 3), tmp_path).save_checkpoint(tmp_path / "one.ckpt")
    for other, message in (
        (IdentificationModule(network(), 3, freeze=["encoder.cnn.ln0"]), "must keep its freeze None, got"),
        (IdentificationModule(network(dim=4), 3), "must keep its encoder.dim 8, got 4"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(other, tmp_path, ckpt_path=tmp_path / "one.ckpt", weights_only=True)


def test_the_rate_falls_along_half_a_cosine(tmp_path):
    module, rates = IdentificationModule(network(), 3, lr=1e-2, final_lr=1e-4), []
    module.on_train_batch_start = lambda *_: rates.append(module.optimizers().param_groups[0]["lr"])
    fit(module, tmp_path, steps=5)
    expected = [1e-4 + (1e-2 - 1e-4) * (1 + math.cos(math.pi * step / 5)) / 2 for step in range(5)]
    assert rates == pytest.approx(expected)


def test_what_is_frozen_stays(tmp_path):
    module = IdentificationModule(network(), 3, freeze=["encoder.cnn.ln0", "encoder.cnn.conv.0"])
    before = {name: value.clone() for name, value in module.named_parameters()}
    fit(module, tmp_path)
    changed = {name for name, value in module.named_parameters() if not torch.equal(value, before[name])}
    frozen = {
        "encoder.cnn.ln0.gamma",
        "encoder.cnn.ln0.beta",
        "encoder.cnn.conv.0.low_hz_",
        "encoder.cnn.conv.0.band_hz_",
    }
    assert not changed & frozen
    assert "encoder.cnn.conv.1.weight" in changed


def test_what_is_frozen_keeps_its_batch_statistics(tmp_path):
    """Also where an attack puts the network into eval mode and back."""
    module = IdentificationModule(network(), 3, freeze=["encoder.dnn1"], attack=pgd(epsilon=0.1, norm="l2"))
    kept = {name: value.clone() for name, value in module.encoder.state_dict().items()}
    fit(module, tmp_path, steps=3)
    changed = {name for name, value in module.encoder.state_dict().items() if not torch.equal(value, kept[name])}
    assert not {name for name in changed if name.startswith("dnn1.")}
    assert "cnn.conv.1.weight" in changed
    assert any("running_mean" in name for name in kept if name.startswith("dnn1."))


def test_a_loaded_network_is_trained_in_training_mode(tmp_path):
    module = IdentificationModule(network().eval(), 3)
    before = module.encoder.dnn1.bn[0].running_mean.clone()
    fit(module, tmp_path)
    assert not torch.equal(module.encoder.dnn1.bn[0].running_mean, before)


def test_a_rate_that_falls_needs_the_last_step(tmp_path):
    with pytest.raises(ValueError, match="trainer.max_epochs or trainer.max_steps must be set"):
        fit(IdentificationModule(network(), 3, final_lr=1e-5), tmp_path, steps=-1, max_time={"seconds": 1})


@pytest.mark.parametrize("noise", [None, Fixed(0.05)])
def test_an_attack_moves_views_alike_within_its_budget_and_raises_the_loss(noise):
    module = IdentificationModule(
        network(), 3, noise=noise, num_noise=2 if noise else 1, attack=pgd(epsilon=0.3, norm="l2")
    )
    module.encoder.train()
    batch = tones()
    batch["waveform"] = batch["waveform"].clamp(-1, 1)
    views = torch.stack([noise.add_noise(batch["waveform"]) for _ in range(2)]) if noise else batch["waveform"][None]
    statistics = module.encoder.dnn1.bn[0].running_mean.clone()
    about = batch["waveform"], batch["label"], views
    perturbation = perturbation_of(module.attack, module.encoder, module._log_probability, *about)
    assert perturbation.shape == batch["waveform"].shape
    assert 0.29 < perturbation.norm(dim=-1).max() <= 0.3 + 1e-5
    assert torch.equal(module.encoder.dnn1.bn[0].running_mean, statistics)
    assert module.encoder.training
    module.encoder.eval()
    label = batch["label"].repeat(len(views))
    before, after = (F.nll_loss(module(x.flatten(0, 1)), label) for x in (views, views + perturbation))
    assert after > before


def test_a_checkpoint_is_exported(tmp_path):
    module = IdentificationModule(network(), 3)
    trainer = fit(module, tmp_path)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    export(str(tmp_path / "run.ckpt"), str(tmp_path / "exported"))
    again = IdentificationModule(network(), 3, init_from=str(tmp_path / "exported")).eval()
    waveform = tones()["waveform"]
    assert torch.equal(again(waveform), module.eval()(waveform))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_classes": 4}, "encoder.num_classes must be the 4 speakers of the data, got 3"),
        ({"num_noise": 0}, "num_noise must be at least 1"),
        ({"num_noise": 2}, "num_noise must be at least 1, and 1 without noise, got 2"),
        ({"lr": math.inf}, "lr must be positive and finite, got inf"),
        ({"final_lr": 1.0}, "final_lr must be between 0 and lr 0.001, got 1"),
        ({"freeze": ["encoder.cnn.none"]}, "freeze must name modules such as encoder.dnn2, got 'encoder.cnn.none'"),
        ({"attack": pgd(epsilon=0.1, objective=Margin())}, "attack must be untargeted"),
        ({"attack": hop_skip_jump()}, "attack must ask about a whole batch at once, .* got hop_skip_jump"),
    ],
)
def test_bad_values(settings, message):
    with pytest.raises(ValueError, match=message):
        IdentificationModule(network(), **{"num_classes": 3} | settings)
