"""Where defended systems are attacked and measured: a batch of trials in, a row for each out, and nothing done twice.

The attack on the encoder alone is made once and kept as 16-bit audio; every defence is then sent the same waveforms.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch
from torch import Tensor
from tqdm import tqdm

from voxcert.attacks import Attack, epsilon_at_snr, norms
from voxcert.attacks.budgets import steepest
from voxcert.data.audio import load
from voxcert.evaluation.defence_rows import DefenceRow, quality_fields, read_defences
from voxcert.evaluation.defence_settings import GENUINE, DefenceSettings
from voxcert.evaluation.defended_system import DefendedSystem, rounded
from voxcert.evaluation.json_rows import rewrite_json_rows
from voxcert.evaluation.kept_audio import write_rounded
from voxcert.evaluation.quality import speech_quality
from voxcert.evaluation.run_folder import ROWS, open_rows
from voxcert.evaluation.seeds import seed_of
from voxcert.evaluation.trials import Trial


@dataclass(frozen=True)
class Job:
    """Trials of one kind (all true claims, or all false ones) that are attacked, purified and measured together."""

    system: DefendedSystem
    condition: str
    adaptive: bool
    trials: tuple[Trial, ...]

    @property
    def keys(self) -> list[tuple[Any, ...]]:
        """The keys of its rows."""
        about = self.system.name, self.condition, self.adaptive
        return [(*about, trial.utterance, claim(trial)) for trial in self.trials]


def claim(trial: Trial) -> str:
    """Whom the utterance of a trial claims to be."""
    return trial.target or trial.speaker


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

    def run(self, jobs: list[Job]) -> list[DefenceRow]:
        """Does all jobs that are not done yet, and writes their rows at once; returns all rows."""
        rows, num_done = self._finished(jobs)
        progress = tqdm(jobs[num_done:], "defending", initial=num_done, total=len(jobs), unit="batch")
        with closing(open_rows(self.settings.output_dir, rank=0)) as writer:
            for job in progress:
                progress.set_postfix_str(f"{job.system.name}: {job.condition}{', adaptive' * job.adaptive}")
                new = self._rows(job)
                writer.write(new)
                rows += new
        return rows

    def _finished(self, jobs: Sequence[Job]) -> tuple[list[DefenceRow], int]:
        """Rows of the jobs that were written in full, and the number of these; a job cut short is done again."""
        found, rows, num_done = read_defences(self.settings.output_dir), [], 0
        for job in jobs:
            stretch = found[len(rows) : len(rows) + len(job.trials)]
            if [row.key for row in stretch] != job.keys:
                break
            if {row.system for row in stretch} != {job.system.id}:
                raise ValueError(
                    f"output_dir {self.settings.output_dir} holds a run with other weights: {job.system.name} "
                    f"is {stretch[0].system} there, got {job.system.id}"
                )
            rows, num_done = rows + stretch, num_done + 1
        if len(rows) < len(found):
            rewrite_json_rows(Path(self.settings.output_dir) / ROWS, rows)
        return rows, num_done

    def _rows(self, job: Job) -> list[DefenceRow]:
        readable = [trial for trial in job.trials if "error" not in self.items[trial.utterance]]
        measured = dict(zip(readable, self._measured(job, readable), strict=True)) if readable else {}
        failures = {
            trial: {"failed": self.items[trial.utterance]["error"]} for trial in job.trials if trial not in measured
        }
        system, settings = job.system, self.settings
        return [
            DefenceRow(
                defence=system.name,
                condition=job.condition,
                adaptive=job.adaptive,
                utterance=trial.utterance,
                speaker=trial.speaker,
                claim=claim(trial),
                target=trial.target is None,
                system=system.id,
                text=system.text,
                seed=settings.seed,
                **(measured | failures)[trial],
            )
            for trial in job.trials
        ]

    def _measured(self, job: Job, trials: Sequence[Trial]) -> Iterator[dict[str, Any]]:
        start = time.perf_counter()
        device, utterances = job.system.device, [trial.utterance for trial in trials]
        clean = torch.stack([self.items[utterance]["waveform"] for utterance in utterances]).to(device)
        sent = self._sent(job, trials, clean)
        finite = sent.isfinite().all(dim=1)
        sent = sent.where(finite[:, None], clean)
        claims = torch.tensor([job.system.speakers.index(claim(trial)) for trial in trials], device=device)
        scores, purified = job.system.judge(sent, utterances, claims)
        qualities = [quality_fields(speech_quality(*pair)) for pair in zip(clean, purified, strict=True)]
        delta = (sent - clean).double()
        sizes = zip(norms(delta, "l2").tolist(), norms(delta, "linf").tolist(), strict=True)
        seconds = (time.perf_counter() - start) / len(trials)
        for whole, score, quality, (l2, linf) in zip(finite.tolist(), scores.tolist(), qualities, sizes, strict=True):
            if not whole:
                yield {"failed": "the attack's waveform is not finite", "seconds": seconds}
                continue
            result = {"score": score} if -2 < score < 2 else {"failed": f"the score is {score}"}  # NaN too
            yield result | quality | {"l2": l2, "linf": linf, "seconds": seconds}

    def _sent(self, job: Job, trials: Sequence[Trial], clean: Tensor) -> Tensor:
        """What reaches the purifier, (batch, time): the utterances, noisy or attacked; not finite where that failed."""
        if job.condition == GENUINE:
            return self._genuine(trials, clean)
        if job.adaptive:
            return self._attacked(job.system, job.condition, trials, clean)
        paths = [self._path(job.condition, trial) for trial in trials]
        if not all(path.is_file() for path in paths):
            attacked = self._attacked(self.bare, job.condition, trials, clean)
            for path, waveform in zip(paths, attacked, strict=True):
                if not waveform.isfinite().all():
                    continue
                draft = path.with_name(f"draft-{os.getpid()}.flac")
                write_rounded(draft, waveform)
                draft.replace(path)
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
        claims = torch.tensor([system.speakers.index(claim(trial)) for trial in trials], device=system.device)
        utterances = [trial.utterance for trial in trials]
        accept = trials[0].target is not None
        return system.attacked(self.attacks[name], clean, utterances, claims, accept, name)

    def _path(self, attack: str, trial: Trial) -> Path:
        name = f"{quote(trial.utterance, safe='')}--{quote(claim(trial), safe='')}.flac"
        return Path(self.settings.output_dir) / "audio" / attack / name
