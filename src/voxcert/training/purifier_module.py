"""Training of a diffusion purifier: on clean speech, then on pairs of attacked and clean speech.

Chen et al. (TDAP), eq. (7) and section 4.1; for DAP and one-shot denoising the same without condition.
"""

from collections.abc import Sequence

import lightning as L
import torch
from torch import Tensor
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio as si_sdr

from voxcert.attacks import Attack
from voxcert.encoders.base import Recognizer
from voxcert.evaluation.metrics.detection import equal_error_rate
from voxcert.purifiers.checkpoint import load_matching
from voxcert.purifiers.diffusion import DiffusionPurifier, OneShotDenoiser
from voxcert.purifiers.text import TextEmbedder
from voxcert.training.attacked import check_training_attack, enroll_victim
from voxcert.training.distributed import draw_apart, gather_dict
from voxcert.training.finite import check_positive
from voxcert.training.noise import NoiseDistribution
from voxcert.training.resuming import check_kept, check_network, check_weights, draw_anew
from voxcert.training.schedule import check_steps, last_step


class PurifierModule(L.LightningModule):
    """Trains the network of a purifier to predict the noise of its process, eq. (7).

    Without an attack, y is the clean speech itself (pre-training); with one, y is what the attack makes of it on the
    fly, against the victim's own decisions on the enrolled speakers of the validation (training speakers among them).
    The squared error counts in units of the network's output: for the plain network that is eq. (7) with equal weights,
    with `data_std` it is the weight of Karras et al. 2022.

    Validation purifies y and logs means over utterances: `val/loss`; `val/si_sdr` of the purified waveform in dB, and
    `val/si_sdr_attacked` of y; for an unconditional process `val/denoised@SIGMA` and `val/noisy@SIGMA`, the SI-SDR of
    one-shot denoising and of its input; with an attack `val/eer_clean`, `val/eer_attacked` and `val/eer`, equal error
    rates of the victim on clean, attacked and purified speech, each utterance against every enrolled speaker.

    Args:
        purifier: What is trained, with its process.
        noise: Distribution of sqrt(1 / abar_t - 1), the noise in x_t relative to its speech; None draws whole steps t
            uniformly, as in the paper.
        attack: Makes y, untargeted; None is y = x_0.
        victim: The encoder that the attack is made against, as `voxcert.load_encoder` takes it; needed by an attack.
        text: Embeds transcripts for a network with a conditioner; None trains without text.
        init_from: Checkpoint folder of a purifier of the same network and process to start from; a conditioner that it
            lacks starts afresh.
        sigmas: Where one-shot denoising is validated, waveform amplitude.
        lr: Learning rate of Adam.
        one_cycle: Let the learning rate rise to `lr` and fall to nothing over all steps; constant in the paper.

    Raises:
        ValueError: If one of attack and victim is missing, the attack is targeted or brings an objective, lr is not
            positive, or a sigma is beyond the noise of the process.
    """

    def __init__(
        self,
        purifier: DiffusionPurifier,
        noise: NoiseDistribution | None = None,
        attack: Attack | None = None,
        victim: str | None = None,
        text: TextEmbedder | None = None,
        init_from: str | None = None,
        sigmas: Sequence[float] = (0.01, 0.05, 0.1, 0.25),
        lr: float = 3e-5,
        one_cycle: bool = False,
    ):
        super().__init__()
        if (attack is None) != (victim is None):
            given = "no victim" if victim is None else "no attack"
            raise ValueError(f"attack and victim must be given together, got {given}")
        check_training_attack(attack)
        check_positive("lr", lr)
        self.save_hyperparameters(ignore=["purifier", "noise", "attack", "text"])
        if init_from is not None:
            load_matching(purifier, init_from)
        self.purifier, self.noise, self.attack = purifier.train(), noise, attack  # a loaded one comes in eval mode
        if not purifier.scheduler.conditional:
            self._denoisers()  # refuses a sigma that the process does not know
        # In lists: as submodules they would be trained, set to train mode and added to every checkpoint.
        self._text = [text]
        self._victims: list[Recognizer] = []

    @property
    def victim(self) -> Recognizer:
        """The recognizer under attack, with frozen weights; enrolled when first asked for."""
        if not self._victims:
            self._victims.append(enroll_victim(self, "val"))
        return self._victims[0]

    def on_train_start(self) -> None:
        """Refuses to resume past the end of the cycle, and gives every process noise of its own."""
        draw_apart(self.trainer)
        if self.hparams.one_cycle:
            check_steps(self.lr_schedulers().total_steps, self.trainer.estimated_stepping_batches)

    def training_step(self, batch: dict, batch_idx: int) -> Tensor:
        """Returns the loss of a batch with `waveform` (batch, time) and `text` (transcripts)."""
        clean = batch["waveform"].clamp(-1, 1)  # where attacks live; a change of speed may overshoot
        noise, timesteps = torch.randn_like(clean), self._timesteps(len(clean))
        attacked = self._attacked(clean, seed=int(torch.randint(2**31, ())))
        loss = self._losses(clean, attacked, self._embedded(batch), noise, timesteps).mean()
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forgets the last epoch's results."""
        self._results: dict[str, dict[str, float]] = {}
        self._scores: dict[str, tuple[str, dict[str, list[float]]]] = {}

    def validation_step(self, batch: dict, batch_idx: int) -> None:
        """Purifies a batch with `utterance` and `speaker` (names), `waveform` (batch, time) and `text`."""
        clean, text = batch["waveform"], self._embedded(batch)
        attacked = self._attacked(clean, seed=batch_idx)
        purified = self.purifier(attacked, text)
        generator = torch.Generator().manual_seed(batch_idx)  # the same in every epoch
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        steps = len(self.purifier.scheduler.betas)
        timesteps = torch.arange(len(clean), device=self.device) * 7 % steps  # spread over the process
        values = {
            "loss": self._losses(clean, attacked, text, noise, timesteps),
            "si_sdr": si_sdr(purified, clean),
        }
        if not self.purifier.scheduler.conditional:
            for denoiser in self._denoisers():
                noisy = clean + denoiser.sigma * noise
                values[f"noisy@{denoiser.sigma:g}"] = si_sdr(noisy, clean)
                values[f"denoised@{denoiser.sigma:g}"] = si_sdr(denoiser(noisy), clean)
        scores = {}
        if self.attack is not None:
            values["si_sdr_attacked"] = si_sdr(attacked, clean)
            versions = {"eer_clean": clean, "eer_attacked": attacked, "eer": purified}
            scores = {name: self.victim(waveform).tolist() for name, waveform in versions.items()}
        for row, utterance in enumerate(batch["utterance"]):
            self._results[utterance] = {name: float(value[row]) for name, value in values.items()}
            own = {name: rows[row] for name, rows in scores.items()}
            self._scores[utterance] = batch["speaker"][row], own

    def on_validation_epoch_end(self) -> None:
        """Logs means over utterances; those that a distributed sampler repeated count once."""
        results = list(gather_dict(self._results).values())
        logged = {f"val/{name}": sum(row[name] for row in results) / len(results) for name in results[0]}
        if self.attack is not None:
            trials = list(gather_dict(self._scores).values())
            logged |= {f"val/{name}": self._equal_error_rate(trials, name) for name in trials[0][1]}
        self.log_dict(logged, prog_bar=True, sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Keeps how the purifier was built, so that a checkpoint can be exported by itself."""
        checkpoint["purifier_config"] = self.purifier.config

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Refuses to go on with another learning rate or another network."""
        check_weights(self, checkpoint)
        check_network(self, checkpoint, "purifier", free=("steps", "start", "checkpointing", "seed"))
        check_kept(self, checkpoint, ("lr", "one_cycle"))
        draw_anew(self, checkpoint)

    def configure_optimizers(self) -> torch.optim.Optimizer | dict:
        """Adam, with a constant learning rate as in the paper or with one cycle."""
        optimizer = torch.optim.Adam(self.purifier.parameters(), lr=self.hparams.lr)
        if not self.hparams.one_cycle:
            return optimizer
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.hparams.lr, total_steps=last_step(self.trainer))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _denoisers(self) -> list[OneShotDenoiser]:
        return [OneShotDenoiser(self.purifier, sigma) for sigma in self.hparams.sigmas]

    def _losses(self, clean: Tensor, noisy: Tensor, text: Tensor | None, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Eq. (7) for each row, in units of the network's output: (batch,)."""
        scheduler, network = self.purifier.scheduler, self.purifier.network
        sample = scheduler.add_noise(clean, noise, timesteps, noisy)
        predicted = self.purifier.predict_noise(sample, timesteps, network.condition(noisy, text))
        error = predicted - scheduler.target(clean, noise, timesteps, noisy)
        return (error / self.purifier.output_scale(timesteps).to(error)).square().mean(dim=1)

    def _timesteps(self, num: int) -> Tensor:
        """Steps to train at, shape (num,)."""
        if self.noise is None:
            return torch.randint(len(self.purifier.scheduler.betas), (num,), device=self.device)
        sigma = self.noise.sample(num, self.device).double()
        return self.purifier.scheduler.position(1 / (1 + sigma**2))

    def _attacked(self, clean: Tensor, seed: int) -> Tensor:
        """What the attack makes of clean waveforms (batch, time), against what they are taken for."""
        if self.attack is None:
            return clean
        with torch.no_grad():
            labels = self.victim(clean).argmax(dim=1)
        generator = torch.Generator(clean.device).manual_seed(seed)
        with torch.enable_grad():
            return self.attack(self.victim, clean, labels, generator=generator).detach()

    def _embedded(self, batch: dict) -> Tensor | None:
        """Embeddings of the transcripts, shape (batch, 768)."""
        text = self._text[0]
        return None if text is None else text(batch["text"]).to(self.device)

    def _equal_error_rate(self, trials: list[tuple[str, dict[str, list[float]]]], name: str) -> float:
        """Over every pair of utterance and enrolled speaker."""
        genuine, impostor = [], []
        for speaker, scores in trials:
            for enrolled, score in zip(self.victim.speakers, scores[name], strict=True):
                (genuine if enrolled == speaker else impostor).append(score)
        return equal_error_rate(genuine, impostor)[0]
