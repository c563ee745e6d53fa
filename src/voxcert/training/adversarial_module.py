"""Adversarial training of a speaker encoder: a training step sees what an attack makes of its examples.

Madry et al. 2018 (arXiv 1706.06083, eq. 2.1); under noise the attack is on the smoothed classifier, SmoothAdv (Salman
et al. 2019, 1906.04584, eqs. 5 and 6), and with a clean view to agree with, TRADES (Zhang et al. 2019, 1901.08573).
"""

import math
from typing import Any

import torch
from torch import Tensor

from voxcert.attacks import Attack
from voxcert.encoders.base import Encoder
from voxcert.training.attacked import check_training_attack, perturbation_of
from voxcert.training.distillation import Lesson
from voxcert.training.encoder_module import EncoderModule
from voxcert.training.losses import Regularizer
from voxcert.training.noise import NoiseDistribution
from voxcert.training.schedule import last_step


class AdversarialEncoderModule(EncoderModule):
    """Trains a speaker encoder on adversarial examples for its classifier of training speakers.

    A batch's noise is drawn first. The attack sees the logarithm of the mean probability over exactly these noisy views
    (one view without noise), and what it adds to the waveform is added to every view that the loss then sees. Its
    passes are made in eval mode, as the encoder will be attacked: running statistics are used and not changed.

    Noise and regularisers make the known variants:

    - no noise: Madry et al. 2018; `pgd` with `steps: 1` and a step of 1.25 epsilon is the fast one (Wong et al. 2020);
    - noise and an l2 ball: SmoothAdv, with `num_noise` noise vectors (Salman et al. 2019);
    - `Stability`, with or without noise: TRADES. The classification loss sees the clean waveform alone, and the attack
      maximises the divergence that the regulariser weighs (Zhang et al. 2019, eq. 5; start `pgd` at random, the
      divergence has no gradient at the clean waveform);
    - `Consistency`, with noise: its views are noisy and adversarial;
    - `distillation` without a classifier: the classes are the speakers of the batch, where the teacher hears them.

    Args:
        encoder: The network.
        num_classes: Training classes; the command line takes it from the data.
        attack: Untargeted, without an objective: the module sets it (cross entropy, or the divergence of TRADES).
        clean_share: Share of the examples of a batch that is not attacked.
        epsilon_warmup: Share of all steps over which perturbations grow from 0 to what the attack returns. They are
            scaled, and so stay in the scaled ball whatever the attack's norm.
        **settings: Those of `EncoderModule`.

    Raises:
        ValueError: If a share is not in [0, 1], if the attack brings an objective, or as `EncoderModule`.
    """

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        attack: Attack,
        clean_share: float = 0.0,
        epsilon_warmup: float = 0.0,
        **settings: Any,
    ):
        super().__init__(encoder, num_classes, **settings)
        for name, share in (("clean_share", clean_share), ("epsilon_warmup", epsilon_warmup)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} must be a share in [0, 1], got {share}")
        check_training_attack(attack)
        self.attack = attack

    def _perturb(self, views: Tensor, batch: dict, taught: Lesson | None = None) -> Tensor:
        """Adds one perturbation per example to its views (views, batch, time), but for a view that stays clean."""
        first = int(self._needs_clean_view)
        start = round(self.hparams.clean_share * views.shape[1])  # batches come shuffled
        perturbation, share = torch.zeros_like(views[0]), self._epsilon_share()
        if share > 0 and start < len(perturbation):
            label = taught.place if self.criterion is None else batch["label"]
            perturbation[start:] = share * perturbation_of(
                self.attack,
                self.encoder,
                lambda heard: self._log_probability(heard, taught),
                batch["waveform"][start:],
                label[start:],
                views[first:, start:],
                diverging=self._needs_clean_view,
            )
        self.log("train/perturbation", perturbation.norm(dim=-1).mean())
        return torch.cat([views[:first], views[first:] + perturbation])

    def _log_probability(self, views: Tensor, taught: Lesson | None = None) -> Tensor:
        """Logarithm of the mean over views (views, batch, time) of the softmax: (batch, classes)."""
        logits = self._logits(self.encoder(views.flatten(0, 1)), taught).unflatten(0, views.shape[:2])
        return logits.log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(views))

    def _epsilon_share(self) -> float:
        warmup = self.hparams.epsilon_warmup
        return min(1.0, self.global_step / (warmup * last_step(self.trainer))) if warmup else 1.0

    def _check_views(self, regularizer: Regularizer, noise: NoiseDistribution | None, num_noise: int) -> None:
        """As in `EncoderModule`, but an adversarial view can be compared with a clean one without noise."""
        if not regularizer.needs_clean_view:
            super()._check_views(regularizer, noise, num_noise)
