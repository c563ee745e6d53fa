"""Training of SSED's generator against a frozen recognizer: forged speech that is taken for a target, and stays quiet.

Yao et al. 2022, eq. (4): L = lambda_f L_f + lambda_n L_norm + lambda_s L_speaker + lambda_a L_angular.
"""

import math
import zlib
from typing import get_args

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from voxcert.attacks.budgets import norms, snr_at_epsilon
from voxcert.attacks.call_shape import gradient_through
from voxcert.attacks.generator.checkpoint import load_generator
from voxcert.attacks.generator.network import SaliencyGenerator
from voxcert.attacks.objectives import Objective
from voxcert.data import SAMPLE_RATE
from voxcert.encoders.base import Recognizer
from voxcert.training.attacked import enroll_victim
from voxcert.training.distributed import draw_apart, gather_dict
from voxcert.training.finite import check_at_least_0, check_positive
from voxcert.training.generator_losses import NormLoss, angular_loss, norm_loss, saliency_loss
from voxcert.training.resuming import arguments, check_kept, check_network, check_weights, draw_anew
from voxcert.training.schedule import check_steps, last_step

ANY, RANDOM = "any", "random"
OF_A_TARGET = "epsilon", "target", "target_dim"
"""Arguments of a generator that say whom it forges and how loudly, and not what its network computes."""

SILENCE_DB = 96
"""The last bit of 16-bit audio lies so far below the loudest speech."""


class GeneratorModule(L.LightningModule):
    """Trains a generator on the training speakers' speech; whose voice it forges is one of the victim's enrolled.

    The victim enrols those whom the data module enrols for its test. Validation and test forge the utterances of held
    out speakers, except the target's own, and log under `val/` and `test/`: `tasr`, the share that is taken for the
    target, `tasr_unattacked`, the same without attack, and `snr`, the mean of 10 log10(P_x / P_delta) in dB.

    Args:
        generator: The network; `saliency: false` there is the ablation without saliency.
        victim: The encoder under attack, as `voxcert.load_encoder` takes it; frozen, in eval mode.
        objective: What is attacked, such as `voxcert.attacks.Margin`: closed set, or open set with a threshold.
        target: Name of the enrolled speaker to forge, "random" for one drawn with `seed`, or, beyond the paper, "any"
            for a generator that is told whom: it needs `target_dim`, the size of the victim's embeddings.
        init_from: Checkpoint folder of a generator of the same network to start from. One with a single target lets one
            for any target start too, which then learns from scratch what to make of the target alone.
        num_enrolled: Speakers to enrol, drawn with `seed`; all when null.
        kappa: Margin, in scores, by which the target is to win; the speaker loss gains nothing beyond it. Infinite in
            the paper, where easy voices may get ever louder perturbations while hard ones fail.
        norm: Reading of L_norm, "hinge" or "literal", or "relative" to the power of the speech.
        norm_threshold: Amplitude that costs nothing under "hinge".
        saliency_weight: Lambda_f.
        norm_weight: Lambda_n.
        speaker_weight: Lambda_s.
        angular_weight: Lambda_a; 0 is the ablation without the angular loss.
        lr: Learning rate of Adam at first; it falls to 0 along a cosine.
        seed: Of the choice of enrolled speakers and target.

    Raises:
        ValueError: If a weight, kappa or lr makes no sense, or what is in `init_from` is another network; when training
            starts, if the victim has no gradient, or a checkpoint to go on from has another target.
    """

    def __init__(
        self,
        generator: SaliencyGenerator,
        victim: str,
        objective: Objective,
        target: str = RANDOM,
        init_from: str | None = None,
        num_enrolled: int | None = None,
        kappa: float = math.inf,
        norm: NormLoss = "hinge",
        norm_threshold: float = 0.0,
        saliency_weight: float = 1e-4,
        norm_weight: float = 1e4,
        speaker_weight: float = 1.0,
        angular_weight: float = 0.1,
        lr: float = 1e-3,
        seed: int = 0,
    ):
        super().__init__()
        self.save_hyperparameters(ignore=["generator", "objective"])
        for name in ("kappa", "saliency_weight", "norm_weight", "speaker_weight", "angular_weight"):
            if not self.hparams[name] >= 0:
                raise ValueError(f"{name} must be at least 0, got {self.hparams[name]}")
        if norm not in get_args(NormLoss):
            raise ValueError(f"norm must be one of {', '.join(get_args(NormLoss))}, got {norm!r}")
        check_at_least_0("norm_threshold", norm_threshold)
        check_positive("lr", lr)
        self.generator, self.objective = generator.train(), objective  # a loaded one comes in eval mode
        if init_from is not None:
            _start_from(generator, init_from)
        # In a list: as a submodule the victim would be trained, set to train mode and added to every checkpoint.
        self._victims: list[Recognizer] = []
        self._forged: str | None = None

    @property
    def victim(self) -> Recognizer:
        """The recognizer under attack, with frozen weights; enrolled when first asked for."""
        if not self._victims:
            with torch.inference_mode(False):  # as in `enroll_victim`
                self._victims.append(self._choose(enroll_victim(self, "test")))
        return self._victims[0]

    def on_fit_start(self) -> None:
        """Settles whom the generator forges: in a training that goes on, and in its test, whom it learnt to forge."""
        name = self._target_name()
        if self._forged not in (None, name):
            raise ValueError(
                f"target must be {self._forged!r}, whom the generator in ckpt_path forges, got {name!r} (where drawn, "
                "with the seed and from the enrolled speakers that it was drawn with)"
            )
        self.generator.target = name

    on_validation_start = on_test_start = on_fit_start

    def on_train_start(self) -> None:
        """Refuses a victim without gradients, and to resume past the end of the learning rate's schedule.

        Every process draws targets of its own.
        """
        draw_apart(self.trainer)
        with torch.enable_grad():
            ramp = torch.linspace(-0.1, 0.1, SAMPLE_RATE, device=self.device)[None].requires_grad_()
            gradient_through("victim", self.victim(ramp).sum(), ramp)
        check_steps(self.lr_schedulers().T_max, self.trainer.estimated_stepping_batches)

    def forward(self, waveform: Tensor, target: Tensor) -> Tensor:
        """Forges waveforms (batch, time) as the speakers of index `target` (batch,)."""
        return self._forge(waveform, target)[0]

    def training_step(self, batch: dict, batch_idx: int) -> Tensor:
        """Returns the loss of a batch with `waveform` (batch, time)."""
        target = self._training_targets(len(batch["waveform"]))
        terms, scores = self._terms(batch["waveform"], target)
        loss = sum(terms.values())
        self.log_dict({f"train/{name}": term for name, term in terms.items()} | {"train/loss": loss})
        self.log("train/tasr", self.objective.succeeded(scores, target, True).float().mean(), prog_bar=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forgets the last epoch's results."""
        self._results: dict[str, tuple[float, float, float]] = {}

    on_test_epoch_start = on_validation_epoch_start

    def validation_step(self, batch: dict, batch_idx: int) -> None:
        """Forges a batch with `utterance` and `speaker` (names) and `waveform` (batch, time)."""
        waveform, speakers = batch["waveform"], self.victim.speakers
        chosen = [self._tested_target(utterance) for utterance in batch["utterance"]]
        target = torch.tensor(chosen, device=self.device)
        forged = self(waveform, target)
        with torch.autocast(self.device.type, enabled=False):  # scores as the deployed victim has them
            hit, before = (self.objective.succeeded(self.victim(x), target, True) for x in (forged, waveform))
        snr = snr_at_epsilon(waveform, norms(forged - waveform, "l2"))
        rows = torch.stack([hit.float(), before.float(), snr], dim=1).tolist()
        for utterance, speaker, index, row in zip(batch["utterance"], batch["speaker"], chosen, rows, strict=True):
            if speaker != speakers[index]:  # nobody forges their own voice
                self._results[utterance] = tuple(row)

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Logs means over utterances; those that a distributed sampler repeated count once."""
        self._log_results("val")

    def on_test_epoch_end(self) -> None:
        """Logs means over utterances; those that a distributed sampler repeated count once."""
        self._log_results("test")

    def on_train_end(self) -> None:
        """Warns of a generator that adds nothing and forges nobody, as the last validation heard it."""
        last = self.trainer.callback_metrics
        if "val/snr" not in last or last["val/tasr"] > last["val/tasr_unattacked"] or last["val/snr"] <= SILENCE_DB:
            return
        rank_zero_warn(
            f"the generator adds next to nothing (val/snr is {last['val/snr']:.0f} dB) and forges nobody: unless its "
            f"epsilon is too small, got {self.generator.epsilon:g}, the norm outweighs the victim's scores, so lower "
            f"norm_weight, got {self.hparams.norm_weight:g}"
        )

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Keeps how the generator was built and whom it forges, so that a checkpoint can be exported by itself."""
        checkpoint["generator_config"] = self.generator.config

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Refuses to go on with another learning rate or another network; whom it forges is known once it starts."""
        check_weights(self, checkpoint)
        check_network(self, checkpoint, "generator", free=OF_A_TARGET)
        check_kept(self, checkpoint, ("lr",))
        draw_anew(self, checkpoint)
        self._forged = checkpoint["generator_config"]["init_args"]["target"]

    def configure_optimizers(self) -> dict:
        """Adam, as in the paper; the learning rate falls to 0 along a cosine, which the paper does not say."""
        optimizer = torch.optim.Adam(self.generator.parameters(), lr=self.hparams.lr)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, last_step(self.trainer))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _terms(self, waveform: Tensor, target: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The weighted terms of eq. (4), and the scores of the forged waveforms (batch, speakers)."""
        weight = self.hparams
        forged, saliency = self._forge(waveform, target)
        embedding = self.victim.encoder(forged)
        with torch.no_grad():
            source = self.victim.encoder(waveform)
        with torch.autocast(self.device.type, enabled=False):
            scores = embedding.float() @ self.victim.prototypes.T
        terms = {
            "saliency": weight.saliency_weight * saliency_loss(saliency),
            "norm": weight.norm_weight * norm_loss(waveform, forged, weight.norm, weight.norm_threshold),
            "speaker": weight.speaker_weight
            * self.objective.loss(scores, target, True).clamp(min=-weight.kappa).mean(),
            "angular": weight.angular_weight * angular_loss(embedding, source),
        }
        return terms, scores

    def _forge(self, waveform: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Forged waveforms and the saliency, both (batch, time)."""
        told = self.victim.prototypes[target] if self.hparams.target == ANY else None
        noise, saliency = self.generator(waveform, told)
        return (waveform + self.generator.epsilon * noise * saliency).clamp(-1, 1), saliency

    def _choose(self, recognizer: Recognizer) -> Recognizer:
        """The recognizer with `num_enrolled` of its speakers, the named target among them."""
        speakers, count, name = recognizer.speakers, self.hparams.num_enrolled, self.hparams.target
        if count is None:
            return recognizer
        if not 2 <= count <= len(speakers):
            raise ValueError(f"num_enrolled must be between 2 and the {len(speakers)} speakers there are, got {count}")
        order = torch.randperm(len(speakers), generator=torch.Generator().manual_seed(self.hparams.seed)).tolist()
        first = [speakers.index(name)] if name in speakers else []
        kept = sorted((first + [index for index in order if index not in first])[:count])
        return Recognizer(recognizer.encoder, recognizer.prototypes[kept], [speakers[index] for index in kept])

    def _target_name(self) -> str | None:
        """The speaker to forge; None for any."""
        speakers, name, dim = self.victim.speakers, self.hparams.target, self.victim.prototypes.shape[1]
        wanted = dim if name == ANY else None
        if self.generator.target_dim != wanted:
            given = self.generator.target_dim
            raise ValueError(f"generator.target_dim must be {wanted} where target is {name!r}, got {given}")
        if name == ANY:
            return None
        if name == RANDOM:
            generator = torch.Generator().manual_seed(self.hparams.seed)
            return speakers[int(torch.randint(len(speakers), (), generator=generator))]
        if name not in speakers:
            raise ValueError(f"target must be {RANDOM!r}, {ANY!r} or an enrolled speaker ({speakers}), got {name!r}")
        return name

    def _training_targets(self, num: int) -> Tensor:
        """One target per example: always the same, or drawn from all that are enrolled."""
        speakers = self.victim.speakers
        if self.hparams.target == ANY:
            return torch.randint(len(speakers), (num,), device=self.device)
        return torch.full((num,), speakers.index(self.generator.target), device=self.device)

    def _tested_target(self, utterance: str) -> int:
        """The target of an utterance, the same in every epoch and on every process."""
        speakers = self.victim.speakers
        if self.hparams.target == ANY:
            return zlib.crc32(utterance.encode()) % len(speakers)
        return speakers.index(self.generator.target)

    def _log_results(self, stage: str) -> None:
        results = list(gather_dict(self._results).values())
        if not results and self.trainer.sanity_checking:
            return  # the first batches may be the target's own
        if not results:
            raise ValueError(
                f"target must leave utterances of others to forge, got {self.generator.target!r}, who speaks all of "
                "them (data.num_val_speakers and data.num_test_speakers say how many are held out)"
            )
        rows = torch.tensor(results).mean(dim=0)
        names = f"{stage}/tasr", f"{stage}/tasr_unattacked", f"{stage}/snr"
        self.log_dict(dict(zip(names, rows, strict=True)), prog_bar=True, sync_dist=True)


def _start_from(generator: SaliencyGenerator, folder: str) -> None:
    """Gives a generator the weights of another, but for its condition where the other has none."""
    other = load_generator(folder)
    before, now = arguments(other.config), arguments(generator.config)
    for name in now:
        if name not in OF_A_TARGET and before[name] != now[name]:
            raise ValueError(
                f"init_from must be a generator of the same network, whose {name} is {now[name]}, got {folder} with "
                f"{before[name]}"
            )
    own = {name: value for name, value in generator.state_dict().items() if name.startswith("condition.")}
    try:
        generator.load_state_dict(own | other.state_dict())
    except RuntimeError as error:
        raise ValueError(f"init_from must be a generator of the same network, got {folder}: {error}") from error
