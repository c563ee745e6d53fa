"""Where defended systems are attacked and measured: a batch of trials in, a row for each out.

The attack on the encoder alone is made once and kept as 16-bit audio; every defence is then sent the same waveforms.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from voxcert.attacks import Attack, epsilon_at_snr, norms
from voxcert.attacks.budgets import steepest
from voxcert.data.audio import load
from voxcert.evaluation.attack.row import ROUNDED
from voxcert.evaluation.attack.trials import Trial
from voxcert.evaluation.defence.row import DefenceRow, quality_fields
from voxcert.evaluation.defence.settings import GENUINE, DefenceSettings
from voxcert.evaluation.defence.system import DefendedSystem
from voxcert.evaluation.metrics.speech_quality import speech_quality
from voxcert.evaluation.run.audio_files import rounded, write_rounded
from voxcert.evaluation.run.folder import file_name
from voxcert.evaluation.run.job import seed_of


@dataclass(frozen=True)
class Batch:
    """Trials of one kind (all true claims, or all false ones) that are attacked, purified and measured together."""

    system: DefendedSystem
    condition: str
    adaptive: bool
    trials: tuple[Trial, ...]

    @property
    def keys(self) -> tuple[tuple[Any, ...], ...]:
        """The keys of its rows."""
        about = self.system.name, self.condition, self.adaptive
        return tuple((*about, trial.utterance, trial.claim) for trial in self.trials)


class Bench:
    """Where systems are attacked and measured.

    Args:
        bare: The encoder without a defence, which attacks that know of none are run on.
        attacks: Name -> attack.
        items: Utterance -> test item.
        settings: Folder, noise, seed.
    """

    def __init__(
        self, bare: DefendedSystem, attacks: dict[str, Attack], items: dict[str, Any], settings: DefenceSettings
    ):
        self.bare, self.attacks, self.items, self.settings = bare, attacks, items, settings

    def rows(self, batch: Batch) -> list[DefenceRow]:
        """Attacks, purifies and measures the trials of a batch."""
        readable = [trial for trial in batch.trials if "error" not in self.items[trial.utterance]]
        measured = dict(zip(readable, self._measured(batch, readable), strict=True)) if readable else {}
        failures = {
            trial: {"failed": self.items[trial.utterance]["error"]} for trial in batch.trials if trial not in measured
        }
        system, settings = batch.system, self.settings
        return [
            DefenceRow(
                defence=system.name,
                condition=batch.condition,
                adaptive=batch.adaptive,
                utterance=trial.utterance,
                speaker=trial.speaker,
                claim=trial.claim,
                target=trial.target is None,
                system=system.id,
                text=system.text,
                seed=settings.seed,
                **(measured | failures)[trial],
            )
            for trial in batch.trials
        ]

    def _measured(self, batch: Batch, trials: Sequence[Trial]) -> Iterator[dict[str, Any]]:
        start = time.perf_counter()
        device, utterances = batch.system.device, [trial.utterance for trial in trials]
        clean = torch.stack([self.items[utterance]["waveform"] for utterance in utterances]).to(device)
        sent = self._sent(batch, trials, clean)
        finite = sent.isfinite().all(dim=1)
        sent = sent.where(finite[:, None], clean)
        claims = torch.tensor([batch.system.speakers.index(trial.claim) for trial in trials], device=device)
        scores, purified = batch.system.judge(sent, utterances, claims)
        qualities = [quality_fields(speech_quality(*pair)) for pair in zip(clean, purified, strict=True)]
        delta = (sent - clean).double()
        sizes = zip(norms(delta, "l2").tolist(), norms(delta, "linf").tolist(), strict=True)
        seconds = (time.perf_counter() - start) / len(trials)
        for whole, score, quality, (l2, linf) in zip(finite.tolist(), scores.tolist(), qualities, sizes, strict=True):
            if not whole or (batch.condition != GENUINE and linf <= ROUNDED):
                reason = "the attack changed nothing" if whole else "the attack's waveform is not finite"
                yield {"failed": reason, "seconds": seconds}
                continue
            result = {"score": score} if -2 < score < 2 else {"failed": f"the score is {score}"}  # NaN too
            yield result | quality | {"l2": l2, "linf": linf, "seconds": seconds}

    def _sent(self, batch: Batch, trials: Sequence[Trial], clean: Tensor) -> Tensor:
        """What reaches the purifier, (batch, time): the utterances, noisy or attacked; not finite where that failed."""
        if batch.condition == GENUINE:
            return self._genuine(trials, clean)
        if batch.adaptive:
            return self._attacked(batch.system, batch.condition, trials, clean)
        paths = [self._path(batch.condition, trial) for trial in trials]
        if not all(path.is_file() for path in paths):
            attacked = self._attacked(self.bare, batch.condition, trials, clean)
            for path, waveform in zip(paths, attacked, strict=True):
                if waveform.isfinite().all():
                    write_rounded(path, waveform)
        lost = torch.full_like(clean[0], torch.nan, device="cpu")
        return torch.stack([load(path) if path.is_file() else lost for path in paths]).to(clean)

    def _genuine(self, trials: Sequence[Trial], clean: Tensor) -> Tensor:
        if self.settings.genuine_snr_db is None:
            return clean
        generator, noise = torch.Generator(), []
        for trial in trials:  # the same noise on every machine
            generator.manual_seed(seed_of(self.settings.seed, trial.utterance, "noise"))
            noise.append(torch.randn(clean.shape[1], generator=generator))
        direction = steepest(torch.stack(noise).to(clean), "l2")
        return rounded(clean + epsilon_at_snr(clean, self.settings.genuine_snr_db)[:, None] * direction)

    def _attacked(self, system: DefendedSystem, name: str, trials: Sequence[Trial], clean: Tensor) -> Tensor:
        claims = torch.tensor([system.speakers.index(trial.claim) for trial in trials], device=system.device)
        utterances = [trial.utterance for trial in trials]
        accept = trials[0].target is not None
        return system.attacked(self.attacks[name], clean, utterances, claims, accept, name)

    def _path(self, attack: str, trial: Trial) -> Path:
        name = f"{file_name(trial.utterance)}--{file_name(trial.claim)}.flac"
        return Path(self.settings.output_dir) / "audio" / attack / name
