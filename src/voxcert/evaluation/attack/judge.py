"""Another encoder that hears what an attack on claims made: whether it takes it for the target too (transfer)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from voxcert.encoders.base import Encoder, enroll
from voxcert.evaluation.attack.settings import AttackSettings
from voxcert.evaluation.attack.trials import Trial
from voxcert.evaluation.attack.victim import Victim, balanced_threshold
from voxcert.evaluation.run.job import SpeakerData
from voxcert.evaluation.run.speakers import enrolled_only


@dataclass(frozen=True)
class Judge:
    """An encoder that is not attacked, with the speakers of the system that is.

    Attributes:
        verifier: The encoder as a system that verifies claims, not smoothed.
        encoder_id: Its hash.
        error_rate: Its equal error rate on the test utterances, of which every one claims to be every speaker.
    """

    verifier: Victim
    encoder_id: str
    error_rate: float

    def scores(self, waveform: Tensor, trials: Sequence[Trial]) -> list[float]:
        """Scores of the targets of trials in waveforms (batch, time)."""
        speakers = self.verifier.recognizer.speakers
        heard = self.verifier.scores(waveform, [trial.utterance for trial in trials])
        return [float(row[speakers.index(trial.target)]) for row, trial in zip(heard, trials, strict=True)]


def appoint_judge(
    encoder: Encoder,
    data: SpeakerData,
    items: Iterable[dict[str, Any]],
    speakers: Sequence[str],
    settings: AttackSettings,
    device: torch.device,
) -> Judge:
    """Enrols the speakers with another encoder, and finds its threshold.

    Args:
        encoder: The judge's, in eval mode.
        data: Enrols the speakers, as those of the attacked system were.
        items: Test items, for the threshold.
        speakers: Who is enrolled there.
        settings: Of the attack, with the judge's hash.
        device: Where to compute.

    Raises:
        ValueError: As `balanced_threshold`.
    """
    everybody = enroll(encoder.to(device), data.enrollment_dataloader("test"), device=device)
    recognizer = enrolled_only(everybody, [], list(speakers), settings.seed)
    verifier = Victim(recognizer, replace(settings, sigma=None, decision="mean"))
    error_rate, verifier.threshold = balanced_threshold(verifier, items, device)
    return Judge(verifier, settings.judge_hash, error_rate)
