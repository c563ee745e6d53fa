"""Training of SincNet as an identification network: posteriors of the training speakers, of one chunk of waveform each.

Ravanelli and Bengio 2018 (arXiv 1808.00158, sec. 4), optimiser and its numbers as in the published code; under noise
and under attack as the other modules here do it (Cohen et al. 2019, Madry et al. 2018, Salman et al. 2019).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from voxcert.attacks import Attack
from voxcert.encoders.loading import load_weights
from voxcert.encoders.sincnet import SincNet
from voxcert.training.attacked import check_training_attack, perturbation_of
from voxcert.training.classes import check_classes, keep_classes
from voxcert.training.distributed import draw_apart
from voxcert.training.finite import check_positive
from voxcert.training.frozen import FreezingModule, freeze_modules
from voxcert.training.noise import NoiseDistribution
from voxcert.training.resuming import check_kept, check_network, check_weights, draw_anew
from voxcert.training.schedule import check_steps, last_step


class IdentificationModule(FreezingModule):
    """Trains SincNet on chunks to name the training speakers.

    The published program also scales every chunk by a random factor and every file to a peak of 1. The network
    normalises its chunk first, so neither could change what it sees, and both are left out.

    An attack sees the logarithm of the mean posterior over a batch's noisy views, in eval mode, and its perturbation is
    added to all of them: without noise this is adversarial training, with noise SmoothAdv.

    Args:
        encoder: The network, with one class for each training speaker.
        num_classes: Training speakers; the command line takes it from the data.
        noise: Distribution of sigma of the noise that training examples get; none trains on clean speech.
        num_noise: Noisy views of each example per step.
        attack: Untargeted, without an objective; none trains on what the data holds.
        lr: Learning rate of RMSprop.
        final_lr: Learning rate of the last step, to which a half cosine leads; `lr` is the published, constant one.
        freeze: Prefixes of modules that stay as they are. With the first layers frozen, `[encoder.cnn.ln0,
            encoder.cnn.conv.0]`, the filters stay mel-spaced and a step takes less than half the time.
        init_from: Weights to start from, such as another checkpoint folder.

    Raises:
        ValueError: If the encoder has another number of classes, or an argument is out of its range.
    """

    def __init__(
        self,
        encoder: SincNet,
        num_classes: int,
        noise: NoiseDistribution | None = None,
        num_noise: int = 1,
        attack: Attack | None = None,
        lr: float = 1e-3,
        final_lr: float = 1e-3,
        freeze: list[str] | None = None,
        init_from: str | None = None,
    ):
        super().__init__()
        self.save_hyperparameters(ignore=["encoder", "noise", "attack"])
        own = encoder.config["init_args"]["num_classes"]
        if own != num_classes:
            raise ValueError(f"encoder.num_classes must be the {num_classes} speakers of the data, got {own}")
        if num_noise < 1 or (noise is None and num_noise > 1):
            raise ValueError(f"num_noise must be at least 1, and 1 without noise, got {num_noise}")
        check_positive("lr", lr)
        if not 0 <= final_lr <= lr:
            raise ValueError(f"final_lr must be between 0 and lr {lr:g}, got {final_lr:g}")
        check_training_attack(attack)
        self.encoder, self.noise, self.attack = encoder.train(), noise, attack  # a loaded one comes in eval mode
        if init_from is not None:
            load_weights(encoder, init_from)
        self.frozen = freeze_modules(self, freeze)

    def forward(self, waveform: Tensor) -> Tensor:
        """Maps chunks (batch, time) to log-posteriors (batch, num_classes)."""
        return self.encoder.log_posteriors(waveform)

    def on_train_start(self) -> None:
        """Refuses to resume past the end of the learning rate's schedule, and gives every process noise of its own."""
        self.train()
        draw_apart(self.trainer)
        if self.hparams.final_lr < self.hparams.lr:  # a constant rate has no end
            check_steps(self.lr_schedulers().T_max, self.trainer.estimated_stepping_batches)

    def training_step(self, batch: dict, batch_idx: int) -> Tensor:
        """Returns the cross-entropy of a batch with `waveform` (batch, chunk_samples) and `label` (batch,)."""
        waveform, label = batch["waveform"], batch["label"]
        views = waveform[None]
        if self.noise is not None:
            views = torch.stack([self.noise.add_noise(waveform) for _ in range(self.hparams.num_noise)])
        if self.attack is not None:
            views = views + perturbation_of(self.attack, self.encoder, self._log_probability, waveform, label, views)
        log_posteriors = self(views.flatten(0, 1))  # (views * batch, num_classes)
        label = label.expand(len(views), -1).flatten()
        loss = F.nll_loss(log_posteriors, label)
        error = (log_posteriors.argmax(dim=-1) != label).float().mean()
        self.log_dict({"train/loss": loss, "train/frame_error": error}, prog_bar=True)
        return loss

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Keeps how the encoder was built, so that a checkpoint can be exported by itself, and who its classes are."""
        checkpoint["encoder_config"] = self.encoder.config
        keep_classes(self, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Refuses to go on with other classes, learning rates or frozen modules, or with another encoder."""
        check_classes(self, checkpoint)
        check_network(self, checkpoint, "encoder")
        check_weights(self, checkpoint)
        check_kept(self, checkpoint, ("lr", "final_lr", "freeze"))
        draw_anew(self, checkpoint)

    def configure_optimizers(self) -> dict:
        """RMSprop with the published constants, and half a cosine from `lr` to `final_lr`."""
        trained = [weight for weight in self.parameters() if weight.requires_grad]
        optimizer = torch.optim.RMSprop(trained, lr=self.hparams.lr, alpha=0.95, eps=1e-8)
        falls = self.hparams.final_lr < self.hparams.lr
        steps = last_step(self.trainer) if falls else self.trainer.estimated_stepping_batches
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=self.hparams.final_lr)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _log_probability(self, views: Tensor) -> Tensor:
        """Logarithm of the mean over views (views, batch, time) of the posteriors: (batch, num_classes)."""
        log_posteriors = self(views.flatten(0, 1)).unflatten(0, views.shape[:2])
        return log_posteriors.logsumexp(dim=0) - math.log(len(views))
