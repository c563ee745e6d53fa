import copy

import pytest
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio as si_sdr

from voxcert.attacks import Margin, pgd
from voxcert.encoders.base import enroll
from voxcert.encoders.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from voxcert.evaluation.metrics.detection import equal_error_rate
from voxcert.purifiers import (
    Conditioner,
    DiffusionPurifier,
    HashedText,
    OneShotDenoiser,
    PurificationScheduler,
    SpectralDiffWave,
)
from voxcert.training.noise import Fixed, LogUniform
from voxcert.training.purifier_module import PurifierModule

SMALL = {"channels": 8, "num_layers": 2, "dilation_cycle": 2, "step_dim": 16}
ATTACK = {"epsilon": 0.01, "norm": "linf", "steps": 2}


def purifier(conditional=True, **settings):
    torch.manual_seed(1)
    conditioner = Conditioner(num_mels=12, dim=8, num_heads=2) if conditional else None
    network = SpectralDiffWave(conditioner, **SMALL)
    torch.nn.init.normal_(network.mask_out.weight, std=0.1)
    return DiffusionPurifier(network, PurificationScheduler(conditional=conditional), **settings)


@torch.no_grad()
@pytest.mark.parametrize("data_std", [None, 0.06])
def test_the_loss_is_eq_7(data_std):
    """For y not x_0, and in units of the network's output: by hand from the scheduler's marginals."""
    module = PurifierModule(purifier(data_std=data_std).eval())
    clean, noise = 0.1 * torch.randn(2, 3, 1000)
    noisy, timesteps = clean + 0.01 * torch.randn(3, 1000), torch.tensor([0, 10, 49])
    losses = module._losses(clean, noisy, None, noise, timesteps)
    scheduler, network = module.purifier.scheduler, module.purifier.network
    for row, t in enumerate(timesteps.tolist()):
        a = float(scheduler.alphas_cumprod[t])
        m = min(1, ((1 - a) / a**0.5) ** 0.5)
        delta = 1 - a - m**2 * a
        sample = a**0.5 * ((1 - m) * clean[row] + m * noisy[row]) + delta**0.5 * noise[row]
        target = (m * a**0.5 * (noisy[row] - clean[row]) + delta**0.5 * noise[row]) / (1 - a) ** 0.5
        condition = network.condition(noisy[row : row + 1])
        if data_std is None:
            expected = (network(sample[None], timesteps[row : row + 1], condition)[0] - target).square().mean()
        else:  # Karras et al.: c_in, c_skip and c_out for x_t / sqrt(abar) with noise of sigma; unit weight
            sigma = (delta / a) ** 0.5
            total = sigma**2 + data_std**2
            x = sample / a**0.5
            out = network(x[None] / total**0.5, timesteps[row : row + 1], condition)[0]
            denoised = data_std**2 / total * x + sigma * data_std / total**0.5 * out
            expected = (denoised - clean[row]).square().mean() / (sigma**2 * data_std**2 / total)
        assert float(losses[row]) == pytest.approx(float(expected), rel=2e-3)


@pytest.mark.parametrize("sigma", [0.02, 0.5])
def test_noise_chooses_the_step(sigma):
    module = PurifierModule(purifier(False), noise=Fixed(sigma))
    alpha_bar = module.purifier.scheduler.alpha_bar(module._timesteps(4))
    assert alpha_bar.tolist() == pytest.approx([1 / (1 + sigma**2)] * 4)


def test_without_noise_all_steps_are_alike():
    drawn = PurifierModule(purifier(False))._timesteps(5000)
    counts = torch.bincount(drawn, minlength=50)
    assert len(counts) == 50
    assert counts.min() > 50


def test_training_learns_to_denoise():
    """Tones in white noise: in a few steps the denoised ones are nearer to the clean ones than the noisy ones are."""
    module = PurifierModule(purifier(False, data_std=0.07), noise=LogUniform(0.02, 0.2), lr=1e-2)
    time = torch.arange(8000) / 16_000
    optimizer = module.configure_optimizers()

    def tones(num):
        return 0.1 * (2 * torch.pi * (200 + 3000 * torch.rand(num, 1)) * time).sin()

    for _ in range(120):
        clean = tones(4)
        loss = module._losses(clean, clean, None, torch.randn_like(clean), module._timesteps(4)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    clean = tones(8)
    noisy = clean + 0.1 * torch.randn_like(clean)
    denoised = OneShotDenoiser(module.purifier.eval(), 0.1)(noisy)
    assert (si_sdr(denoised, clean) > si_sdr(noisy, clean) + 3).all()


def test_pairs_come_from_the_attack(data, trainer, victim):
    module = PurifierModule(purifier(), attack=pgd(**ATTACK), victim=victim, text=HashedText())
    seen = []
    losses = module._losses
    module._losses = lambda clean, noisy, *rest: (seen.append((clean, noisy)), losses(clean, noisy, *rest))[1]
    trainer(max_steps=1, limit_val_batches=0).fit(module, datamodule=data)
    clean, noisy = seen[0]
    assert 0 < (noisy - clean).abs().max() <= 0.01 + 1e-6
    scores, before = module.victim(noisy), module.victim(clean)
    labels = before.argmax(dim=1, keepdim=True)
    assert (scores.gather(1, labels) < before.gather(1, labels)).all()
    assert not noisy.requires_grad


def test_speech_that_a_change_of_speed_took_past_1_is_attacked(victim):
    module = PurifierModule(purifier(False), attack=pgd(**ATTACK), victim=victim)
    module.log = lambda *_, **__: None
    waveform = 0.1 * torch.randn(2, 8000)
    module._victims.append(enroll(load_checkpoint(victim), [{"waveform": waveform, "speaker": ["a", "b"]}]))
    loud = waveform.clone()
    loud[0, 5] = 1.001
    assert torch.isfinite(module.training_step({"waveform": loud, "text": ["", ""]}, 0))


def test_the_purifier_alone_learns(data, trainer, victim):
    module = PurifierModule(purifier(), attack=pgd(**ATTACK), victim=victim, text=HashedText())
    start = copy.deepcopy(module.purifier.state_dict())
    trainer().fit(module, datamodule=data)
    original = load_checkpoint(victim).state_dict()
    assert all(torch.equal(value, original[name]) for name, value in module.victim.encoder.state_dict().items())
    assert {name.partition(".")[0] for name in module.state_dict()} == {"purifier"}
    moved = {name for name, value in module.purifier.state_dict().items() if not torch.equal(value, start[name])}
    assert moved >= {name for name, _ in module.purifier.named_parameters()}


def test_text_is_read(data, trainer):
    class Kept(HashedText):
        seen: list[str] = []

        def embed(self, texts):
            self.seen += texts
            return super().embed(texts)

    module = PurifierModule(purifier(), text=Kept())
    trainer(max_steps=1).fit(module, datamodule=data)
    assert set(Kept.seen) <= {utterance.text for utterance in data.corpus.utterances()}
    assert len(Kept.seen) >= data.batch_size


def test_validation_by_hand(data, trainer, victim):
    module = PurifierModule(purifier(False, start=2), attack=pgd(**ATTACK), victim=victim, sigmas=[0.05])
    fitted = trainer()
    fitted.fit(module, datamodule=data)
    metrics, network = fitted.callback_metrics, module.purifier.eval()
    recognizer = enroll(load_checkpoint(victim), data.enrollment_dataloader("val"))
    purified, attacked, denoised = [], [], []
    trials = {"clean": ([], []), "attacked": ([], []), "": ([], [])}
    for index, batch in enumerate(data.val_dataloader()):
        x = batch["waveform"]
        y = pgd(recognizer, x, recognizer(x).argmax(dim=1), **ATTACK)
        out = network(y).detach()
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(index))
        purified += si_sdr(out, x).tolist()
        attacked += si_sdr(y, x).tolist()
        denoised += si_sdr(OneShotDenoiser(network, 0.05)(x + 0.05 * noise), x).tolist()
        for name, version in (("clean", x), ("attacked", y), ("", out)):
            for speaker, row in zip(batch["speaker"], recognizer(version).tolist(), strict=True):
                for enrolled, score in zip(recognizer.speakers, row, strict=True):
                    trials[name][enrolled != speaker].append(score)
    assert metrics["val/si_sdr"] == pytest.approx(sum(purified) / len(purified), abs=1e-2)
    assert metrics["val/si_sdr_attacked"] == pytest.approx(sum(attacked) / len(attacked), abs=1e-2)
    assert metrics["val/denoised@0.05"] == pytest.approx(sum(denoised) / len(denoised), abs=1e-2)
    for name, pair in trials.items():
        key = "_".join(["val/eer", name]).rstrip("_")
        assert metrics[key] == pytest.approx(equal_error_rate(*pair)[0], abs=1e-6)
    assert metrics["val/eer_attacked"] >= metrics["val/eer_clean"]


class Seeded(PurifierModule):
    def training_step(self, batch, batch_idx):
        """Draws the noise of a step, whoever takes it."""
        torch.manual_seed(self.global_step)
        return super().training_step(batch, batch_idx)


def test_resumed_training_takes_the_same_steps(data, trainer, tmp_path):
    batches = [{"waveform": 0.1 * torch.randn(2, 4000), "text": ["a", ""]} for _ in range(2)]
    data.train_dataloader = lambda: torch.utils.data.DataLoader(batches, batch_size=None)

    def make():
        return Seeded(purifier(data_std=0.06), text=HashedText(), lr=1e-2)

    through = make()
    trainer(max_epochs=2, limit_val_batches=0).fit(through, datamodule=data)
    half = trainer(max_epochs=1, limit_val_batches=0)
    half.fit(make(), datamodule=data)
    half.save_checkpoint(tmp_path / "half.ckpt")
    resumed = make()
    with torch.no_grad():
        resumed.purifier.network.mix.weight.zero_()  # what it starts from comes from the checkpoint
    last = trainer(max_epochs=2, limit_val_batches=0)
    last.fit(resumed, datamodule=data, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    for name, value in through.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize("steps", [3, 8])
def test_one_cycle_is_resumed_for_its_own_steps_alone(data, trainer, save_the_first, steps):
    batches = [{"waveform": 0.1 * torch.randn(2, 4000), "text": ["a", ""]} for _ in range(2)]
    data.train_dataloader = lambda: torch.utils.data.DataLoader(batches, batch_size=None)
    options = {"max_epochs": -1, "limit_val_batches": 0}
    first, module = trainer(max_steps=4, **options), PurifierModule(purifier(), one_cycle=True)
    kept = save_the_first(first, module)
    first.fit(module, datamodule=data)
    other = PurifierModule(purifier(), one_cycle=True)
    with pytest.raises(ValueError, match=f"a resumed run must keep its 4 steps .* got {steps}"):
        trainer(max_steps=steps, **options).fit(other, datamodule=data, ckpt_path=kept, weights_only=True)


def test_another_network_is_named(data, trainer, tmp_path):
    fitted = trainer(limit_val_batches=0)
    fitted.fit(PurifierModule(purifier(False)), datamodule=data)
    fitted.save_checkpoint(tmp_path / "plain.ckpt")
    with pytest.raises(ValueError, match="ckpt_path must be a checkpoint of the model at hand, whose purifier.network"):
        trainer().fit(PurifierModule(purifier()), datamodule=data, ckpt_path=tmp_path / "plain.ckpt")


def test_another_process_is_refused_where_the_weights_fit(data, trainer, tmp_path):
    fitted = trainer(limit_val_batches=0)
    fitted.fit(PurifierModule(purifier(False)), datamodule=data)
    fitted.save_checkpoint(tmp_path / "plain.ckpt")
    again = {"datamodule": data, "ckpt_path": tmp_path / "plain.ckpt", "weights_only": True}
    with pytest.raises(ValueError, match="a resumed run must keep its purifier.data_std None, got 0.05"):
        trainer(limit_val_batches=0).fit(PurifierModule(purifier(False, data_std=0.05)), **again)
    trainer(limit_val_batches=0).fit(PurifierModule(purifier(False, start=1)), **again)


def test_init_from(tmp_path):
    small = purifier(False)
    save_checkpoint(small, tmp_path, {})
    torch.manual_seed(5)
    large = DiffusionPurifier(
        SpectralDiffWave(Conditioner(num_mels=12, dim=8, num_heads=2), **SMALL), PurificationScheduler()
    )
    module = PurifierModule(large, init_from=str(tmp_path))
    for name, value in small.state_dict().items():
        assert torch.equal(module.purifier.state_dict()[name], value)
    with pytest.raises(CheckpointError, match="is not the checkpoint folder of a purifier"):
        PurifierModule(large, init_from=str(tmp_path / "none"))


def test_attack_and_victim_come_together():
    with pytest.raises(ValueError, match="attack and victim must be given together, got no victim"):
        PurifierModule(purifier(), attack=pgd(**ATTACK))
    with pytest.raises(ValueError, match="attack and victim must be given together, got no attack"):
        PurifierModule(purifier(), victim="checkpoints/ecapa-mini")


@pytest.mark.parametrize("brought", [{"targeted": True}, {"objective": Margin()}])
def test_an_attack_leaves_its_aim_to_the_training(brought):
    with pytest.raises(ValueError, match="attack must be untargeted and leave its objective to the training, got"):
        PurifierModule(purifier(), attack=pgd(**ATTACK | brought), victim="checkpoints/ecapa-mini")


def test_sigmas_are_refused_before_the_training():
    with pytest.raises(ValueError, match=r"sigma must be in \(0, .*\], the noise the network knows, got 50"):
        PurifierModule(purifier(False), sigmas=[0.1, 50.0])


def test_a_learning_rate_is_positive():
    with pytest.raises(ValueError, match="lr must be positive and finite, got 0"):
        PurifierModule(purifier(False), lr=0)


def test_one_cycle_needs_an_end(data, trainer):
    with pytest.raises(ValueError, match="trainer.max_epochs or trainer.max_steps must be set"):
        trainer(max_epochs=-1, max_time={"seconds": 1}).fit(PurifierModule(purifier(), one_cycle=True), datamodule=data)


def test_validation_alone_can_attack_and_training_starts_elsewhere_each_time(data, trainer, victim):
    started = pgd(**ATTACK | {"random_start": True, "steps": 1})
    module = PurifierModule(purifier(), attack=started, victim=victim, text=HashedText())
    trainer().validate(module, datamodule=data, verbose=False)
    clean = 0.1 * torch.randn(2, 4000)
    one, same, other = (module._attacked(clean, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    module.trainer = trainer(max_steps=2, limit_val_batches=0)
    seeds, attacked = [], module._attacked
    module._attacked = lambda waveform, seed: seeds.append(seed) or attacked(waveform, seed)
    module.trainer.fit(module, datamodule=data)
    assert len(set(seeds)) == 2
