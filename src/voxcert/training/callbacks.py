"""Certification during training: the smoothed classifier of the moment, certified on a fixed set of validation speech.

The certificates are those of `voxcert.smoothing`; the same seed gives every utterance the same noise in every epoch, so
that curves of different epochs differ by the weights alone.
"""

from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

import lightning as L
import torch
import wandb
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.model_helpers import is_overridden
from tqdm import tqdm

from voxcert.evaluation.certification.figures import plot_certified_accuracy
from voxcert.evaluation.certification.job import build_certifier, certify_item
from voxcert.evaluation.certification.represented import at_representation
from voxcert.evaluation.certification.settings import CertificationSettings, NoisePoint
from voxcert.evaluation.certification.system import enroll_speakers, find_batch_size
from voxcert.evaluation.certification.tables import is_guarantee, rule_name
from voxcert.evaluation.report import render_report
from voxcert.evaluation.report.runs import Run
from voxcert.evaluation.report.tracking import log_report
from voxcert.evaluation.run.processes import FilledBatches
from voxcert.evaluation.verification.job import certify_trials
from voxcert.rows import replace_file, replace_rows
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.certified_score import CertifiedScore
from voxcert.smoothing.curves import (
    abstention_rate,
    average_certified_radius,
    certified_accuracy,
    smoothed_accuracy,
    wilson_interval,
)
from voxcert.smoothing.score_certifier import ScoreCertifier, check_radii
from voxcert.training.distributed import gather_dict, run_folder
from voxcert.training.error_rates import certified_eers, log_eers, validation_claims, write_eers
from voxcert.training.progress_table import add_lines, forget_later


class CertificationCallback(L.Callback):
    """Certifies validation utterances every few epochs and logs certified accuracy.

    Logs `certified/acr`, `certified/abstention`, `certified/accuracy`, `certified/ca@RADIUS` of the first sound rule,
    so that `ModelCheckpoint(monitor="certified/acr")` works, the same under `certified/RULE/...` for every rule, and
    `certified/forwards_per_second`. Writes the rows, a CSV of the curves and a PNG to the run's folder `certification`,
    none without a logger; with Weights & Biases the curves, the rows and a page about them (also as an artifact) go
    there too. Utterances are split over all processes without repeats. With `eer_radii` it also logs
    `certified/eer@RADIUS` and writes the trials and `certified_error_rates.csv`; the page has the certified DET curves.

    Args:
        sigma: Standard deviation of the smoothing noise, in units of what it is added to (waveform amplitude).
        noise_at: Where noise enters: `waveform`, `magnitude` or `features`.
        num_utterances: Validation utterances to certify, the same ones every time.
        every_n_epochs: Certify at every n-th validation epoch of a training, the first one included; in between the
            last values are logged again, so that a checkpoint may monitor them.
        alpha: Error probability of one certificate.
        num_select: Samples that choose the class.
        num_estimate: Samples that bound the radius.
        rules: Certification rules; the first sound one is what `certified/acr` means. Published ones are logged as
            `certified/RULE (not a guarantee)/...`.
        radii: Where certified accuracy is logged as numbers; multiples 0, 0.5, 1, 2 of sigma if not given.
        eer_radii: Where the certified equal error rate of verification is logged, ascending: the same utterances claim
            to be each of the validation speakers, at the price of a second pass over noisy copies. By the verifier
            `vote` if the first sound rule is that, else by `embedding`. None leaves it out.
        enroll_noise: Noise draws at sigma per enrolment segment; 0 enrols on clean speech.
        batch_size: Samples per forward, or `auto`.
        seed: Seed of the choice of utterances and of the noise.

    Raises:
        ValueError: If a count is below 1, radii are out of range, no rule is a guarantee, or if weight averaging comes
            before this callback (it would have put the averaged weights away again when this callback certifies).
    """

    def __init__(
        self,
        sigma: float,
        noise_at: NoisePoint = "waveform",
        num_utterances: int = 20,
        every_n_epochs: int = 1,
        alpha: float = 1e-3,
        num_select: int = 50,
        num_estimate: int = 200,
        rules: list[str] | None = None,
        radii: list[float] | None = None,
        eer_radii: list[float] | None = None,
        enroll_noise: int = 2,
        batch_size: int | str = "auto",
        seed: int = 0,
    ):
        for name, value in (("num_utterances", num_utterances), ("every_n_epochs", every_n_epochs)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.settings = CertificationSettings(
            output_dir="certification",  # inside the folder of the logs
            sigma=sigma,
            noise_at=noise_at,
            alpha=alpha,
            num_select=num_select,
            num_estimate=num_estimate,
            rules=rules or ["distribution", "vote"],
            radii=radii or [0.0, 0.5 * sigma, sigma, 2 * sigma],
            enroll_noise=enroll_noise,
            batch_size=batch_size,
            seed=seed,
        )
        if not any(map(is_guarantee, self.settings.rules)):
            raise ValueError(f"rules must hold one that is a guarantee, got {self.settings.rules}")
        self.num_utterances, self.every_n_epochs = num_utterances, every_n_epochs
        if eer_radii is not None:
            check_radii(eer_radii, "eer_radii")
        self.eer_radii = eer_radii
        self._num_validations = 0
        self._values: dict[str, float] = {}
        self._begun_with: dict[str, Any] = {}
        self._loaded: tuple[int, int] | None = None

    @property
    def _first_sound_rule(self) -> str:
        return next(rule for rule in self.settings.rules if is_guarantee(rule))

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuses what would never be certified, before anything is trained.

        Raises:
            ValueError: If weight averaging comes first, the module validates no encoder, or no speakers are held out.
        """
        before = trainer.callbacks[: trainer.callbacks.index(self)]
        if any(isinstance(callback, WeightAveraging) for callback in before):
            raise ValueError("trainer.callbacks must list CertificationCallback before the weight averaging callback")
        if stage not in ("fit", "validate") or not trainer.limit_val_batches:
            return
        if not (hasattr(pl_module, "encoder") and is_overridden("validation_step", pl_module)):
            raise ValueError(
                "CertificationCallback certifies the encoder of a module that validates it, such as EncoderModule, "
                f"got a {type(pl_module).__name__}: take the callback out of trainer.callbacks"
            )
        trainer.datamodule.tested("val")  # refuses data without validation speakers

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuses to train on with other settings; to validate a checkpoint with others is nobody's harm.

        What another training has measured in the run's folder is deleted, but for the steps that this one goes on from.

        Raises:
            ValueError: If certificates are made otherwise now: the best checkpoint so far was chosen by others.
        """
        now, self._loaded = self._about(), None
        for name, before in self._begun_with.items():
            if before != now[name]:
                raise ValueError(
                    f"a resumed run must keep {name} of CertificationCallback, {before}, got {now[name]}: the best "
                    "checkpoint so far was chosen by it"
                )
        if trainer.is_global_zero and (folder := run_folder(trainer)):
            forget_later(folder / "certification", trainer.global_step)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Certifies, logs and writes: in a training when this epoch's turn has come, in a validation alone always."""
        if trainer.sanity_checking:
            return
        values, fitting = self._values, trainer.state.fn == TrainerFn.FITTING
        if not fitting or self._num_validations % self.every_n_epochs == 0:
            rows, trials = self._certify(trainer, pl_module)
            values = self._summary(rows) | self._error_rates(trials)
            if trainer.is_global_zero and (folder := run_folder(trainer)):
                self._write(rows, trials, trainer, folder / "certification")
        if fitting:
            self._num_validations, self._values = self._num_validations + 1, values
        pl_module.log_dict(values, sync_dist=True)  # the same in all processes, and Lightning likes to hear it

    def state_dict(self) -> dict[str, Any]:
        """Whose turn it is and what the values are about, for a run that is resumed."""
        return {"num_validations": self._num_validations, "values": self._values, "settings": self._about()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on counting where the checkpoint stopped."""
        self._begun_with = state_dict.get("settings", {})
        self._num_validations, self._values = state_dict["num_validations"], state_dict["values"]

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Remembers when the weights were trained: in a validation alone the trainer counts from 0."""
        self._loaded = checkpoint["epoch"], checkpoint["global_step"]

    def _moment(self, trainer: L.Trainer) -> tuple[int, int]:
        """Epoch and step of the weights."""
        return self._loaded or (trainer.current_epoch, trainer.global_step)

    def _about(self) -> dict[str, Any]:
        """What the logged values depend on, as plain values."""
        own = asdict(self.settings) | {"num_utterances": self.num_utterances, "eer_radii": self.eer_radii}
        return {name: value for name, value in own.items() if name != "batch_size"}

    def _certify(
        self, trainer: L.Trainer, pl_module: L.LightningModule
    ) -> tuple[list[Certificate], list[CertifiedScore]]:
        """Certifies this process's share and returns the rows of all processes, in the order of the utterances."""
        settings, device = self.settings, pl_module.device
        encoder, data = at_representation(pl_module.encoder.eval(), trainer.datamodule, settings.noise_at, device)
        encoder, items = FilledBatches(encoder).eval(), data.items("val")
        if settings.batch_size == "auto":  # found once, by the first process for all
            batch_size = find_batch_size(encoder, items, settings, device) if trainer.is_global_zero else 0
            self.settings = settings = replace(settings, batch_size=trainer.strategy.broadcast(batch_size))
        recognizer = enroll_speakers(encoder, data.enrollment_dataloader("val"), settings, device)
        epoch, step = self._moment(trainer)
        encoder_id = f"epoch={epoch}-step={step}"
        certifier = build_certifier(recognizer, settings, encoder_id)
        order = torch.randperm(len(items), generator=torch.Generator().manual_seed(settings.seed)).tolist()
        chosen = sorted(order[: self.num_utterances])
        mine = chosen[trainer.global_rank :: trainer.world_size]
        verifier = None
        if self.eer_radii is not None:
            verifier = build_certifier(recognizer, settings, encoder_id, ScoreCertifier)
            claims = validation_claims(data, recognizer.speakers)
        rows: dict[int, tuple[list[Certificate], list[CertifiedScore]]] = {}
        for index in tqdm(mine, desc="Certifying", leave=False, disable=not trainer.is_global_zero):
            item = items[index]
            own, _ = certify_item(certifier, item)
            rows[index] = own, certify_trials(verifier, item, claims, self.eer_radii) if verifier else []
        gathered = gather_dict(rows)
        certificates, trials = zip(*(gathered[index] for index in sorted(gathered)), strict=True)
        return list(chain(*certificates)), list(chain(*trials))

    def _error_rates(self, trials: list[CertifiedScore]) -> dict[str, float]:
        if self.eer_radii is None:
            return {}
        rates = certified_eers(trials)["vote" if self._first_sound_rule == "vote" else "embedding"]
        return {f"certified/eer@{radius:g}": rate for radius, rate in zip(self.eer_radii, rates, strict=True)}

    def _summary(self, rows: list[Certificate]) -> dict[str, float]:
        """The values to log: those of every rule under its name, those of the first one also without."""
        values = {}
        for rule in self.settings.rules:
            own = [row for row in rows if row.rule == rule]
            shares = zip(self.settings.radii, certified_accuracy(own, self.settings.radii), strict=True)
            measured = {
                "acr": average_certified_radius(own),
                "abstention": abstention_rate(own),
                "accuracy": smoothed_accuracy(own),
                **{f"ca@{radius:g}": float(share) for radius, share in shares},
            }
            values |= {f"certified/{rule_name(rule)}/{name}": value for name, value in measured.items()}
            if rule == self._first_sound_rule:  # its rows hold the time of the pass that all rules share
                values |= {f"certified/{name}": value for name, value in measured.items()}
                seconds = sum(row.seconds for row in own)
                values["certified/forwards_per_second"] = sum(row.num_forwards for row in own) / max(seconds, 1e-9)
        return values

    def _write(self, rows: list[Certificate], trials: list[CertifiedScore], trainer: L.Trainer, folder: Path) -> None:
        """Writes rows, curves and figure of this epoch; the curves of all epochs share one CSV."""
        folder.mkdir(parents=True, exist_ok=True)
        epoch, step = self._moment(trainer)
        name = f"epoch={epoch}-step={step}"
        replace_rows(folder / f"{name}.jsonl", rows)
        plot_certified_accuracy(rows, folder / f"{name}.png")
        curves = [
            f"{rule_name(rule)},{radius:.6g},{ca:.6g},{low:.6g},{high:.6g}"
            for rule in self.settings.rules
            for radius, ca, low, high in self._curve(rows, rule)
        ]
        columns = "rule,radius,certified_accuracy,low,high"
        add_lines(folder / "certified_accuracy.csv", columns, epoch, step, curves)
        if trials:
            write_eers(trials, folder, epoch, step)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                self._log_wandb(rows, logger, step)
                if trials:
                    log_eers(trials, logger, step)
                self._log_page(rows, trials, logger, folder, name, step)

    def _curve(self, rows: list[Certificate], rule: str, num_points: int = 50) -> list[tuple[float, ...]]:
        """Certified accuracy with its Wilson interval from radius 0 to the largest radius of any rule."""
        radii = torch.linspace(0, max(row.radius for row in rows) or self.settings.sigma, num_points).tolist()
        chosen = [row for row in rows if row.rule == rule]
        points = zip(radii, certified_accuracy(chosen, radii), strict=True)
        return [(r, float(ca), *wilson_interval(round(float(ca) * len(chosen)), len(chosen))) for r, ca in points]

    def _log_wandb(self, rows: list[Certificate], logger: WandbLogger, step: int) -> None:
        curves = {rule: self._curve(rows, rule) for rule in self.settings.rules}
        series = wandb.plot.line_series(
            xs=[point[0] for point in curves[self.settings.rules[0]]],
            ys=[[point[1] for point in curves[rule]] for rule in self.settings.rules],
            keys=[rule_name(rule) for rule in self.settings.rules],
            title="Certified accuracy",
            xname="l2 radius",
        )
        records = [asdict(row) for row in rows]
        for record in records:
            record["rule"] = rule_name(record["rule"])
        columns = list(records[0])
        table = wandb.Table(columns=columns, data=[[record[name] for name in columns] for record in records])
        logger.log_metrics({"certified/curve": series, "certified/rows": table}, step)

    def _log_page(
        self,
        rows: list[Certificate],
        trials: list[CertifiedScore],
        logger: WandbLogger,
        folder: Path,
        name: str,
        step: int,
    ) -> None:
        """The page about this epoch, in the place of that of the last one, with its figure."""
        settings = asdict(self.settings)
        runs = [Run(None, "identification", rows, settings, {}, None, name)]
        if trials:
            own = settings | {"task": "verification", "radii": self.eer_radii}
            runs.append(Run(None, "verification", trials, own, {}, None, f"{name}, verification"))
        page = folder / "report.html"
        replace_file(page, render_report(runs, title=f"Certified while training: {name}"))
        log_report(logger.experiment, page, {"certified_accuracy": folder / f"{name}.png"}, step)
