"""The threshold of a system that may name nobody, or verifies claims: where its own test utterances balance the errors.

Yao et al. 2022 (SSED) leave the threshold of their open set open; the equal error rate is the usual choice.
"""

from collections.abc import Iterable
from typing import Any

import torch

from voxcert.evaluation.recognition import equal_error_rate
from voxcert.evaluation.victims import Victim


def balanced_threshold(victim: Victim, items: Iterable[dict[str, Any]], device: torch.device) -> tuple[float, float]:
    """Finds the threshold at the equal error rate of the test utterances.

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
