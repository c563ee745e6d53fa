"""Training of a speaker encoder under Gaussian noise: to name the training speakers, or to agree with a teacher.

Noise augmentation follows Cohen et al. 2019; the encoder and the noise come from the config, this module holds steps,
losses and metrics alone.
"""

import math

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from voxcert.encoders.base import Encoder, enroll
from voxcert.encoders.loading import load_weights
from voxcert.training.augmentation import Augmentation
from voxcert.training.classes import check_classes, keep_classes
from voxcert.training.distillation import Distillation, Lesson
from voxcert.training.distributed import draw_apart, gather_dict
from voxcert.training.finite import check_at_least_0, check_positive
from voxcert.training.frozen import FreezingModule, freeze_modules
from voxcert.training.losses import AngularMarginSoftmax, Regularizer
from voxcert.training.noise import NoiseDistribution
from voxcert.training.resuming import check_kept, check_network, check_weights, draw_anew, keep
from voxcert.training.schedule import check_steps, last_step


class EncoderModule(FreezingModule):
    """Trains a speaker encoder.

    Validation enrols the data module's validation speakers and logs `val/accuracy`, the share of clean utterances whose
    nearest prototype is the right one.

    Args:
        encoder: The network.
        num_classes: Training classes; the command line takes it from the data.
        noise: Distribution of sigma of the noise that training examples get; none trains on clean speech.
        augmentations: What is done to examples before the noise, one after the other; a teacher does not hear it.
        num_noise: Noisy views of each example per step.
        regularizer: A term that asks the views to agree: on the training speaker, or, without a classifier, on the
            speaker among those of the batch.
        distillation: A teacher to agree with: it hears the clean example and the student its views.
        classification_weight: Factor of the softmax over the training speakers; 0 trains without a classifier, by
            distillation alone.
        margin: Additive angular margin, radians.
        margin_warmup: Share of all steps over which the margin rises from 0.
        scale: Factor of the cosines in the softmax.
        lr: Peak learning rate of the one-cycle schedule.
        lr_multipliers: Factors of the learning rate for parameters whose name starts with a prefix, such as
            `{encoder.network.blocks: 0.1}`; the first prefix that fits wins.
        lr_warmup: Share of all steps over which the learning rate rises.
        weight_decay: Weight decay of AdamW.
        freeze: Prefixes of modules that stay as they are, such as `[encoder.network.blocks]`.
        freeze_statistics: Whether batch normalisation works with the statistics that `init_from` brings, and keeps
            them; its other weights learn.
        init_from: Weights to start from: a checkpoint folder, a local copy of what the encoder's authors published
            (docs/encoders.md), or `hf:OWNER/NAME` to fetch such a folder from the Hugging Face hub.

    Raises:
        ValueError: If a share, count, weight or prefix makes no sense, a regulariser has no noise to work with, or what
            keeps or copies the weights of `init_from` has none.
    """

    def __init__(
        self,
        encoder: Encoder,
        num_classes: int,
        noise: NoiseDistribution | None = None,
        augmentations: list[Augmentation] | None = None,
        num_noise: int = 1,
        regularizer: Regularizer | None = None,
        distillation: Distillation | None = None,
        classification_weight: float = 1.0,
        margin: float = 0.2,
        margin_warmup: float = 0.3,
        scale: float = 30.0,
        lr: float = 2e-3,
        lr_multipliers: dict[str, float] | None = None,
        lr_warmup: float = 0.2,
        weight_decay: float = 1e-2,
        freeze: list[str] | None = None,
        freeze_statistics: bool = False,
        init_from: str | None = None,
    ):
        super().__init__()
        # Not what has a class, nor a subclass's attack: a checkpoint holds plain values alone.
        self.save_hyperparameters(ignore=["encoder", "noise", "augmentations", "regularizer", "distillation", "attack"])
        if num_noise < 1 or (noise is None and num_noise > 1):
            raise ValueError(f"num_noise must be at least 1, and 1 without noise, got {num_noise}")
        if regularizer is not None:
            self._check_views(regularizer, noise, num_noise)
        for name, share in (("margin_warmup", margin_warmup), ("lr_warmup", lr_warmup)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} must be a share of the steps in [0, 1], got {share}")
        if not 0 <= classification_weight < math.inf or (classification_weight == 0 and distillation is None):
            raise ValueError(
                f"classification_weight must be positive, or 0 with distillation, got {classification_weight}"
            )
        for name, value in (("scale", scale), ("lr", lr)):
            check_positive(name, value)
        factors = {f"lr_multipliers of {prefix}": factor for prefix, factor in (lr_multipliers or {}).items()}
        for name, value in ({"weight_decay": weight_decay} | factors).items():
            check_at_least_0(name, value)
        self.encoder = encoder
        if init_from is not None:
            load_weights(encoder, init_from)
        elif freeze or freeze_statistics:
            raise ValueError(
                f"freeze keeps weights that init_from brings: set init_from, got freeze={freeze} and "
                f"freeze_statistics={freeze_statistics} without it"
            )
        elif distillation is not None and distillation.source is None:
            raise ValueError("distillation needs a teacher, or init_from to copy one from: set either, got neither")
        self.criterion = None
        if classification_weight > 0:
            self.criterion = AngularMarginSoftmax(encoder.dim, num_classes, margin, scale)
        self.noise = noise
        self.augmentations = augmentations or []
        self.regularizer = regularizer
        self.distillation = distillation
        if distillation is not None:
            distillation.start(encoder)
        self.frozen = freeze_modules(self, freeze)
        if freeze_statistics:
            self.frozen += self._normalisations()
        for prefix in lr_multipliers or {}:
            if not any(name.startswith(prefix) for name, _ in self.named_parameters()):
                raise ValueError(f"lr_multipliers must name parameters such as encoder.network, got {prefix!r}")

    def forward(self, waveform: Tensor) -> Tensor:
        """Embeds waveforms (batch, time) as unit vectors (batch, dim)."""
        return self.encoder(waveform)

    def on_train_start(self) -> None:
        """Refuses to resume past the end of the learning rate's schedule, and gives every process noise of its own.

        Frozen modules come into eval mode here; the start of an epoch would be too late, for a training that goes on
        inside an epoch has none.
        """
        self.train()
        draw_apart(self.trainer)
        check_steps(self.lr_schedulers().total_steps, last_step(self.trainer))

    def training_step(self, batch: dict, batch_idx: int) -> Tensor:
        """Returns the loss of a batch with `waveform` (batch, time) and `label` (batch,)."""
        taught = None if self.distillation is None else self.distillation.teach(batch["waveform"], batch["label"])
        for augment in self.augmentations:
            batch = batch | {"waveform": augment(batch["waveform"], batch["label"])}
        views = self._perturb(self._views(batch["waveform"]), batch, taught)
        embedding = self.encoder(views.flatten(0, 1)).unflatten(0, views.shape[:2])
        logits = self._logits(embedding, taught)
        loss = embedding.new_zeros(())
        if self.criterion is not None:
            classified = logits[:1] if self._needs_clean_view else logits
            loss = loss + self.hparams.classification_weight * self._classification(classified, batch["label"])
        if taught is not None:
            distance, contrast = self.distillation(embedding, taught)
            self.log_dict({"train/teacher_distance": distance, "train/teacher_contrast": contrast}, prog_bar=True)
            loss = loss + self.distillation.cosine_weight * distance + self.distillation.contrast_weight * contrast
        if self.regularizer is not None:
            term = self.regularizer(logits)
            self.log("train/regularizer", term)
            loss = loss + term
        self.log("train/loss", loss)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Enrols the validation speakers; every process holds them all."""
        self._correct: dict[str, bool] = {}
        batches = self.trainer.datamodule.enrollment_dataloader("val")
        # In a list: as a submodule the recognizer would add the encoder to every checkpoint once more.
        self._recognizers = [enroll(self.encoder, batches, device=self.device)]

    def validation_step(self, batch: dict, batch_idx: int) -> None:
        """Identifies a batch with `utterance` and `speaker` (names) and `waveform` (batch, time)."""
        (recognizer,) = self._recognizers
        predictions = recognizer(batch["waveform"]).argmax(dim=-1).tolist()
        for utterance, speaker, index in zip(batch["utterance"], batch["speaker"], predictions, strict=True):
            self._correct[utterance] = recognizer.speakers[index] == speaker

    def on_validation_epoch_end(self) -> None:
        """Logs the accuracy over utterances; those that a distributed sampler repeated count once."""
        correct = gather_dict(self._correct)
        self.log("val/accuracy", sum(correct.values()) / len(correct), prog_bar=True, sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Keeps how the encoder was built, so that a checkpoint can be exported by itself, and who its classes are."""
        checkpoint["encoder_config"] = self.encoder.config
        checkpoint["teacher"] = self._teacher_hash
        keep_classes(self, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Refuses to go on with other classes, learning rates or frozen modules, or another teacher or encoder."""
        check_classes(self, checkpoint)
        keep(self, "teacher", checkpoint.get("teacher", self._teacher_hash), self._teacher_hash)
        check_network(self, checkpoint, "encoder")
        check_weights(self, checkpoint)
        check_kept(self, checkpoint, ("lr", "lr_warmup", "lr_multipliers", "weight_decay", "freeze"))
        draw_anew(self, checkpoint)

    def configure_optimizers(self) -> dict:
        """AdamW with a one-cycle schedule over all steps; one parameter group for each learning rate."""
        groups: dict[float, list] = {}
        for name, parameter in self.named_parameters():
            if parameter.requires_grad:
                groups.setdefault(self._multiplier(name), []).append(parameter)
        rates = [self.hparams.lr * factor for factor in groups]
        optimizer = torch.optim.AdamW(
            [{"params": parameters} for parameters in groups.values()], weight_decay=self.hparams.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            rates,
            total_steps=last_step(self.trainer),
            # Torch divides by zero where the rise makes exactly one step, and where nothing is left to fall in.
            pct_start=min(1 - 1e-6, self.hparams.lr_warmup + 1e-6),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _views(self, waveform: Tensor) -> Tensor:
        """Stacks the views of a batch: (views, batch, time)."""
        clean = [waveform] if self._needs_clean_view else []
        if self.noise is None:
            return torch.stack([*clean, waveform])
        return torch.stack(clean + [self.noise.add_noise(waveform) for _ in range(self.hparams.num_noise)])

    def _perturb(self, views: Tensor, batch: dict, taught: Lesson | None = None) -> Tensor:
        """The views (views, batch, time) to train on: as they are; a subclass may attack them."""
        return views

    def _logits(self, embedding: Tensor, taught: Lesson | None) -> Tensor:
        """Logits of embeddings (..., dim): of the training speakers, or without a classifier of the batch's."""
        if self.criterion is None:
            return self.distillation.logits(embedding, taught)
        return self.criterion.logits(embedding)

    def _classification(self, logits: Tensor, label: Tensor) -> Tensor:
        """Angular margin softmax of logits (views, batch, classes) and labels (batch,)."""
        self.criterion.margin = self._current_margin()
        logits, label = logits.flatten(0, 1), label.repeat(len(logits))
        loss = self.criterion(logits, label)
        accuracy = (logits.argmax(dim=-1) == label).float().mean()
        self.log_dict({"train/softmax": loss, "train/accuracy": accuracy}, prog_bar=True)
        return loss

    def _check_views(self, regularizer: Regularizer, noise: NoiseDistribution | None, num_noise: int) -> None:
        """Raises ValueError unless there are two views to compare."""
        if noise is None or num_noise + regularizer.needs_clean_view < 2:
            raise ValueError("regularizer compares noisy views: set noise, and num_noise to at least 2 (consistency)")

    @property
    def _teacher_hash(self) -> str | None:
        return None if self.distillation is None else self.distillation.teacher_hash

    @property
    def _needs_clean_view(self) -> bool:
        return self.regularizer is not None and self.regularizer.needs_clean_view

    def _current_margin(self) -> float:
        warmup = self.hparams.margin_warmup * last_step(self.trainer)
        return self.hparams.margin * min(1.0, self.global_step / warmup if warmup else 1.0)

    def _multiplier(self, name: str) -> float:
        multipliers = self.hparams.lr_multipliers or {}
        return next((factor for prefix, factor in multipliers.items() if name.startswith(prefix)), 1.0)

    def _normalisations(self) -> list[str]:
        found = [f"encoder.{name}" for name, module in self.encoder.named_modules() if isinstance(module, _BatchNorm)]
        if not found:
            kind = type(self.encoder).__name__
            raise ValueError(f"freeze_statistics needs an encoder with batch normalisation, got a {kind} without")
        return found
