"""The system under attack: a recognizer, smoothed or not, that names a speaker, names nobody, or verifies a claim.

Smoothing follows Cohen et al. 2019 (votes) and Korzh et al. 2024 (mean embeddings). A smoothed closed set or verifier
answers as the deployed one does: the smoothed answer, but for probability alpha, or nothing. The attack sees an
expectation over noise as in Salman et al. 2019, and never the noise that decisions are made with.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from voxcert.attacks import CrossEntropy, ExpectationOverNoise, Margin, Objective, Verification
from voxcert.encoders.base import Recognizer
from voxcert.evaluation.attack.settings import AttackSettings
from voxcert.evaluation.attack.trials import Trial
from voxcert.evaluation.metrics.detection import equal_error_rate
from voxcert.smoothing.sampler import NoisySampler
from voxcert.smoothing.score_certifier import ScoreCertifier

VOTE_SCALE = 30.0
"""Of the softmax that stands in for a vote in gradients; cosines of noisy copies differ by some hundredths."""


@dataclass(frozen=True)
class Decision:
    """What a system says of one waveform.

    Attributes:
        name: A speaker; None for nobody, or where the system abstains.
        abstained: Whether the system says that it does not know.
        score: Of the claim in verification, over all `num_eval` draws where it is smoothed; None elsewhere.
        failed: None, or why nothing is known.
    """

    name: str | None
    abstained: bool = False
    score: float | None = None
    failed: str | None = None


class Victim:
    """A recognizer in a scenario.

    Args:
        recognizer: Encoder and enrolled speakers.
        settings: Scenario, smoothing and seed.
        threshold: Least score that is accepted; None in a closed set.
    """

    def __init__(self, recognizer: Recognizer, settings: AttackSettings, threshold: float | None = None):
        self.recognizer, self.settings, self.threshold = recognizer, settings, threshold
        self._deployed: ScoreCertifier | None = None

    @torch.inference_mode()
    def decide(self, waveform: Tensor, trials: Sequence[Trial]) -> list[Decision]:
        """What the system says: the best speaker, or nobody if the score that counts is below the threshold.

        Args:
            waveform: Shape (batch, time).
            trials: One per row; in verification the claim is to be the target, or else the speaker. The noise depends
                on the seed and on their utterances alone.
        """
        is_deployed = self.settings.sigma is not None and self.settings.scenario != "osi"
        answers = [self._answer(row, trial) for row, trial in zip(waveform, trials, strict=True)] if is_deployed else []
        if is_deployed and self.settings.scenario == "csi":
            return answers
        scores = self.scores(waveform, [trial.utterance for trial in trials])
        decisions = answers or [Decision(name) for name in self.decide_by_scores(scores, trials)]
        if self.settings.scenario == "sv":
            claims = [self.recognizer.speakers.index(trial.claim) for trial in trials]
            own = [float(row[claim]) for row, claim in zip(scores, claims, strict=True)]
            decisions = [replace(decision, score=score) for decision, score in zip(decisions, own, strict=True)]
        usable = scores.isfinite().all(dim=1).tolist()
        nothing = Decision(None, failed="the system's scores are not finite")
        return [decision if whole else nothing for decision, whole in zip(decisions, usable, strict=True)]

    def _answer(self, waveform: Tensor, trial: Trial) -> Decision:
        """What the deployed classifier or verifier answers."""
        settings = self.settings
        if self._deployed is None:
            self._deployed = ScoreCertifier(
                self.recognizer.encoder,
                self.recognizer.prototypes,
                self.recognizer.speakers,
                sigma=settings.sigma,
                alpha=settings.alpha,
                num_select=max(1, settings.num_eval // 4),
                num_estimate=settings.num_eval,
                batch_size=settings.batch_size,
                seed=settings.seed,
            )
        kind = "vote" if settings.decision == "vote" else "embedding"
        if settings.scenario == "csi":
            answer = self._deployed.predict(waveform, trial.utterance, kind)
            return Decision(answer.prediction, abstained=answer.abstained is not None)
        claim = trial.claim
        answer = self._deployed.decide(waveform, claim, self.threshold, trial.utterance, kind)
        return Decision(claim if answer.accepted else None, abstained=answer.abstained is not None)

    @torch.inference_mode()
    def scores(self, waveform: Tensor, utterances: Sequence[str]) -> Tensor:
        """Scores: cosines, their means over noise, or by `vote` shares of votes, in verification medians of cosines.

        Args:
            waveform: Shape (batch, time).
            utterances: Ids; the noise depends on the seed and on these alone.

        Returns:
            Shape (batch, speakers), float64.
        """
        if self.settings.sigma is None:
            return self.recognizer(waveform).double()
        return torch.stack([self._smoothed(*pair) for pair in zip(waveform, utterances, strict=True)])

    def _smoothed(self, waveform: Tensor, utterance: str) -> Tensor:
        settings = self.settings
        sampler = NoisySampler(waveform, settings.sigma, settings.seed, utterance)
        starts = range(0, settings.num_eval, settings.batch_size)
        stops = [min(start + settings.batch_size, settings.num_eval) for start in starts]
        batches = (self.recognizer(sampler.batch(*ends)).double() for ends in zip(starts, stops, strict=True))
        if settings.decision == "vote" and settings.scenario == "sv":
            return torch.cat(list(batches)).median(dim=0).values
        total = torch.zeros(len(self.recognizer.speakers), dtype=torch.float64, device=waveform.device)
        for scores in batches:
            if settings.decision == "vote":
                total += torch.bincount(scores.argmax(dim=1), minlength=len(total))
            else:
                total += scores.sum(dim=0)
        return total / settings.num_eval

    def decide_by_scores(self, scores: Tensor, trials: Sequence[Trial]) -> list[str | None]:
        """The best speaker, or None if the score that counts is below the threshold.

        Args:
            scores: Shape (batch, speakers), of `scores`.
            trials: One per row; in verification the claim is to be the target, or else the speaker.
        """
        speakers = self.recognizer.speakers
        if self.settings.scenario == "sv":
            named = [speakers.index(trial.claim) for trial in trials]
        else:
            named = scores.argmax(dim=1).tolist()
        accepted = [
            self.threshold is None or float(row[name]) >= self.threshold
            for row, name in zip(scores, named, strict=True)
        ]
        return [speakers[name] if accept else None for name, accept in zip(named, accepted, strict=True)]

    def objective(self, wanted: Objective | None) -> Objective:
        """The objective of an attack: the attack's own, at this system's threshold.

        Raises:
            ValueError: If the attack's own is about another kind of decision.
        """
        if self.settings.scenario == "sv":
            if wanted is not None and not isinstance(wanted, Verification):
                raise ValueError(f"attack.objective must be Verification or null in the scenario sv, got {wanted}")
            return Verification(self.threshold)
        wanted = Margin() if wanted is None else wanted
        if not isinstance(wanted, Margin):
            raise ValueError(f"attack.objective must be Margin, CrossEntropy or null, got {wanted}")
        if isinstance(wanted, CrossEntropy) and self.settings.decision == "vote":
            wanted = replace(wanted, scale=1.0)  # the scores are log-probabilities already
        return replace(wanted, threshold=self.threshold)

    def exposed(self, encoder: nn.Module, seed: int) -> nn.Module:
        """What an attack is given: the recognizer, or its expectation over noise.

        Args:
            encoder: In the place of the recognizer's own: the same one, such as inside what counts its passes.
            seed: Of the noise.
        """
        settings = self.settings
        recognizer = Recognizer(encoder, self.recognizer.prototypes, self.recognizer.speakers)
        if settings.sigma is None:
            return recognizer
        scale = VOTE_SCALE if settings.decision == "vote" and settings.scenario == "csi" else None
        return ExpectationOverNoise(
            recognizer, settings.sigma, settings.num_noise, scale=scale, batch_size=settings.batch_size, seed=seed
        )


def balanced_threshold(victim: Victim, items: Iterable[dict[str, Any]], device: torch.device) -> tuple[float, float]:
    """Finds the threshold at the equal error rate of the test utterances, which Yao et al. 2022 (SSED) leave open.

    In verification, every utterance claims to be every enrolled speaker. In an open set, the best scores of enrolled
    speakers' utterances stand against those of impostors.

    Args:
        victim: The system, its threshold not needed.
        items: Test items; those that could not be read are left out.
        device: Where the recognizer is.

    Returns:
        The equal error rate and the threshold.

    Raises:
        ValueError: If genuine or impostors' trials are missing.
    """
    genuine, impostor, speakers = [], [], victim.recognizer.speakers
    for item in items:
        if "error" in item:
            continue
        scores = victim.scores(item["waveform"][None].to(device), [item["utterance"]])[0].tolist()
        if victim.settings.scenario == "osi":
            (genuine if item["speaker"] in speakers else impostor).append(max(scores))
        else:
            for speaker, score in zip(speakers, scores, strict=True):
                (genuine if item["speaker"] == speaker else impostor).append(score)
    if not genuine or not impostor:
        raise ValueError(
            f"threshold must be given where the test utterances hold no {'impostor' if genuine else 'genuine'} trials "
            f"(enrolled sets who is enrolled), got null with {len(genuine)} genuine and {len(impostor)} impostors'"
        )
    return equal_error_rate(genuine, impostor)
