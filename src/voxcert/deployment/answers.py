"""What an answer tells whoever asked, on the command line, over the network and on the page."""

from dataclasses import asdict
from typing import Any

from voxcert.smoothing.claims import Decision
from voxcert.smoothing.prediction import Prediction

SECRETS = ("utterance", "seed")
"""What the noise was made of, which is nobody's business."""


def public(answer: Prediction | Decision) -> dict[str, Any]:
    """An answer as plain values, without what its noise was made of."""
    return {name: value for name, value in asdict(answer).items() if name not in SECRETS}
