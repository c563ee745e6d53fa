"""Attacks a few utterances together and measures what came of it, one row for each.

Success is what the system decides about the adversarial waveform, under noise that the attack has not seen and, where
waveforms are kept, about what was written: rounding to 16 bits is then part of the attack.
"""

import math
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from voxcert.attacks import Attack, Counted, norms
from voxcert.attacks.inversion import Noise
from voxcert.evaluation.attack.description import attack_path, attack_settings
from voxcert.evaluation.attack.judge import Judge
from voxcert.evaluation.attack.pictures import attack_mask, perturbation_figure, picture_path
from voxcert.evaluation.attack.row import AttackRow
from voxcert.evaluation.attack.trials import Trial
from voxcert.evaluation.attack.victim import Decision, Victim
from voxcert.evaluation.run.audio_files import kept_path, write_rounded
from voxcert.evaluation.run.job import seed_of
from voxcert.evaluation.show.figures import save
from voxcert.smoothing.certificate import signal_to_perturbation_db

NOTHING = Decision(None)
"""Of an utterance that could not be read."""


class Attacker:
    """An attack and the system that it is run on.

    Args:
        attack: Any attack of the call shape of `voxcert.attacks`.
        victim: The system.
        device: Where it is.
        encoder_id: Hash of its encoder.
        judge: Another encoder that hears what the attack makes; None for none.
        drawn: Utterances that are drawn, at every radius.
    """

    def __init__(
        self,
        attack: Attack,
        victim: Victim,
        device: torch.device,
        encoder_id: str = "",
        judge: Judge | None = None,
        drawn: Collection[str] = (),
    ):
        self.attack, self.victim, self.device, self.encoder_id = attack, victim, device, encoder_id
        self.judge, self.drawn = judge, drawn
        self.name, self.settings = attack_path(attack).rpartition(".")[2], attack_settings(attack)
        self.objective = victim.objective(getattr(attack, "keywords", {}).get("objective"))
        self._clean: dict[str, Decision] = {}  # the same for all radii
        self._judged_clean: dict[str, float] = {}  # likewise

    def rows(self, items: Sequence[dict[str, Any]], trials: Sequence[Trial], radius: float | None) -> list[AttackRow]:
        """Attacks utterances together.

        Args:
            items: Test items of the trials, waveforms of one length; those with "error" become rows that say so.
            trials: What the attack is to reach.
            radius: l2 budget in place of the attack's own; None leaves it.

        Returns:
            One row per trial, in their order.

        Raises:
            ValueError: If a waveform is outside [-1, 1], before the attack or after it.
        """
        readable = [number for number, item in enumerate(items) if "error" not in item]
        rows = {}
        if readable:
            waveform = torch.stack([self._start(items[n]["waveform"], trials[n]) for n in readable]).to(self.device)
            rows = dict(zip(readable, self._attack([trials[n] for n in readable], waveform, radius), strict=True))
        return [
            rows.get(number) or self._row(trial, radius, failed=items[number]["error"])
            for number, trial in enumerate(trials)
        ]

    def _start(self, waveform: Tensor, trial: Trial) -> Tensor:
        """The utterance (time,), or noise in its place that depends on seed and utterance alone, as loud."""
        color, seed = self.victim.settings.start, self.victim.settings.seed
        if color == "utterance":
            return waveform
        generator = np.random.default_rng(seed_of(seed, "start", trial.utterance))
        noise = Noise(color).draw(len(waveform), generator)
        return (waveform.norm() / noise.norm() * noise).clamp(-1, 1)

    def _attack(self, trials: Sequence[Trial], waveform: Tensor, radius: float | None) -> list[AttackRow]:
        adversarial, cost = self._run(trials, waveform, radius)
        finite = adversarial.isfinite().all(dim=1)
        files: list[str | None] = [None] * len(trials)
        adversarial = adversarial.where(finite[:, None], waveform)
        if self.victim.settings.keep is not None:
            files = [kept_path(trial.utterance, radius, self.victim.settings.keep) for trial in trials]
            folder = Path(self.victim.settings.output_dir)
            adversarial = torch.stack(
                [write_rounded(folder / f, row) for f, row in zip(files, adversarial, strict=True)]
            )
        self._draw(trials, waveform, adversarial, radius)
        clean, after = self._before(trials, waveform), self.victim.decide(adversarial, trials)
        judged = self._judged(trials, waveform, adversarial)
        reasons = [_reason(*about) for about in zip(finite.tolist(), judged, after, clean, strict=True)]
        return [
            self._row(
                trial,
                radius,
                clean[n],
                after[n],
                **cost,
                file=files[n],
                **judged[n],
                **_sizes(waveform[n], adversarial[n]),
            )
            if reasons[n] is None
            else self._row(trial, radius, clean[n], failed=reasons[n], **cost)
            for n, trial in enumerate(trials)
        ]

    def _run(self, trials: Sequence[Trial], waveform: Tensor, radius: float | None) -> tuple[Tensor, dict[str, float]]:
        """Adversarial waveforms (batch, time), and each one's share of the cost, by its name in a row."""
        seed = seed_of(self.victim.settings.seed, radius, *(trial.utterance for trial in trials))
        labels, encoder = self._labels(trials), Counted(self.victim.recognizer.encoder)
        start = time.perf_counter()
        adversarial = self.attack(
            self.victim.exposed(encoder, seed),
            waveform,
            labels,
            objective=self.objective,
            targeted=self.victim.settings.targeted,
            generator=torch.Generator(self.device).manual_seed(seed),
            **_budget(radius),
        )
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        seconds = time.perf_counter() - start
        peak = float(adversarial.nan_to_num(0.0, 0.0, 0.0).abs().max())
        if adversarial.shape != waveform.shape or peak > 1:
            raise ValueError(
                f"attack must return waveforms of shape {tuple(waveform.shape)} in [-1, 1], got "
                f"{tuple(adversarial.shape)} with a peak of {peak:g} from {self.name}"
            )
        cost = {"seconds": seconds, "forwards": encoder.forwards, "backwards": encoder.backwards}
        return adversarial, {name: spent / len(trials) for name, spent in cost.items()}

    def _draw(self, trials: Sequence[Trial], waveform: Tensor, adversarial: Tensor, radius: float | None) -> None:
        shown = [number for number, trial in enumerate(trials) if trial.utterance in self.drawn]
        if not shown:
            return
        mask = attack_mask(self.attack, self.victim.recognizer, waveform, self._labels(trials))
        for number in shown:
            trial, own = trials[number], None if mask is None else mask[number]
            figure = perturbation_figure(waveform[number], adversarial[number], own, trial.utterance)
            save(figure, Path(self.victim.settings.output_dir) / picture_path(trial.utterance, radius))

    def _labels(self, trials: Sequence[Trial]) -> Tensor:
        speakers = self.victim.recognizer.speakers
        return torch.tensor([trial.label(speakers) for trial in trials], device=self.device)

    def _before(self, trials: Sequence[Trial], waveform: Tensor) -> list[Decision]:
        """Decisions about the clean waveforms, made once for all radii."""
        if any(trial.utterance not in self._clean for trial in trials):
            decisions = self.victim.decide(waveform, trials)
            self._clean |= {trial.utterance: decision for trial, decision in zip(trials, decisions, strict=True)}
        return [self._clean[trial.utterance] for trial in trials]

    def _judged(self, trials: Sequence[Trial], waveform: Tensor, adversarial: Tensor) -> list[dict[str, Any]]:
        """What the judge says before and after, as fields of rows; the former is heard once for all radii."""
        if self.judge is None:
            return [{} for _ in trials]
        if any(trial.utterance not in self._judged_clean for trial in trials):
            before = self.judge.scores(waveform, trials)
            self._judged_clean |= {trial.utterance: score for trial, score in zip(trials, before, strict=True)}
        fixed = {"judge": self.judge.encoder_id, "judge_threshold": self.judge.verifier.threshold}
        return [
            fixed | {"judge_before": self._judged_clean[trial.utterance], "judge_score": score}
            for trial, score in zip(trials, self.judge.scores(adversarial, trials), strict=True)
        ]

    def _succeeded(self, trial: Trial, decision: Decision) -> bool:
        """Whether the attacker has what he wants; an abstention locks out who claims rightly, and helps no impostor."""
        if decision.abstained:
            return self.victim.settings.scenario == "sv" and not self.victim.settings.targeted
        return trial.succeeded(decision.name)

    def _row(
        self,
        trial: Trial,
        radius: float | None,
        clean: Decision = NOTHING,
        adversarial: Decision = NOTHING,
        failed: str | None = None,
        **measured: Any,
    ) -> AttackRow:
        settings, smoothed = self.victim.settings, self.victim.settings.sigma is not None
        return AttackRow(
            utterance=trial.utterance,
            speaker=trial.speaker,
            target=trial.target,
            scenario=settings.scenario,
            expected=trial.expected,
            attack=self.name,
            attack_settings=self.settings | _budget(radius),
            radius=radius,
            within=settings.within,
            threshold=self.victim.threshold,
            start=settings.start,
            sigma=settings.sigma,
            decision=settings.decision if smoothed else None,
            num_noise=settings.num_noise if smoothed else 0,
            num_eval=settings.num_eval if smoothed else 0,
            seed=settings.seed,
            encoder=self.encoder_id,
            failed=failed,
            clean=clean.name,
            adversarial=adversarial.name,
            abstained_before=clean.abstained or clean.failed is not None,
            abstained=adversarial.abstained,
            score=adversarial.score,
            success_before=failed is None and self._succeeded(trial, clean),
            success=failed is None and self._succeeded(trial, adversarial),
            **measured,
        )


def _reason(is_finite: bool, judged: dict[str, Any], *decisions: Decision) -> str | None:
    """Why an attack has no result; None if it has one."""
    if not is_finite:
        return "the attack's waveform is not finite"
    if not all(math.isfinite(value) for value in judged.values() if isinstance(value, float)):
        return "the judge's scores are not finite"
    return next((decision.failed for decision in decisions if decision.failed is not None), None)


def _budget(radius: float | None) -> dict[str, Any]:
    return {} if radius is None else {"epsilon": radius, "norm": "l2"}


def _sizes(waveform: Tensor, adversarial: Tensor) -> dict[str, float | None]:
    delta = (adversarial.double() - waveform.double())[None]
    l2, loudness = norms(delta, "l2").item(), norms(waveform.double()[None], "l2").item()
    snr_db = signal_to_perturbation_db(loudness, l2)
    return {"l2": l2, "linf": norms(delta, "linf").item(), "snr_db": snr_db}
