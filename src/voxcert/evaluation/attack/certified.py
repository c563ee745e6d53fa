"""What an attack takes from a certification run of the same model: who was enrolled, and the radii.

A certificate and an attack speak of the same thing only if the encoder and the enrolled speakers are the same.
"""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from voxcert.evaluation.certification.folder import read_certified, read_prototypes, read_run
from voxcert.evaluation.certification.tables import by_rule, is_guarantee
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.certified_score import CertifiedScore

Folder = str | Path


def certified_speakers(folder: Folder, encoder_id: str) -> tuple[Tensor, list[str]]:
    """Prototypes (speakers, dim) and names as a certification run enrolled them.

    Args:
        folder: Of the run.
        encoder_id: Hash of the encoder that is to be attacked.

    Raises:
        ValueError: If the folder is no such run, the encoder is another, or noise did not enter at the waveform.
    """
    check_certificates(folder, read_certified(folder), encoder_id)
    found = read_prototypes(folder)
    if found is None:
        raise ValueError(f"certified must be the folder of a certification run, got {folder} without enrolled speakers")
    return found


def certified_radii(folder: Folder, decision: str, sigma: float | None = None) -> dict[str, float]:
    """Radius of every utterance that a run certified for its speaker.

    Args:
        folder: Of the run.
        decision: `vote` takes the rule of that name, `mean` the run's first sound rule for embeddings.
        sigma: Of the system that is attacked within these radii; None for none.

    Raises:
        ValueError: If the run has no such rule, or another sigma: its radii are about another classifier.
    """
    rules = by_rule(read_run(folder))
    fitting = [rule for rule in rules if is_guarantee(rule) and (rule == "vote") == (decision == "vote")]
    if not fitting:
        have = ", ".join(rules)
        raise ValueError(f"certified must have a sound rule for the decision {decision}, got {folder} with {have}")
    own = rules[fitting[0]]
    if sigma is not None and own[0].sigma != sigma:
        raise ValueError(f"sigma must be that of the certificates in {folder}, {own[0].sigma:g}, got {sigma:g}")
    return {row.utterance: row.radius for row in own if row.certified}


def check_certificates(folder: Folder, rows: Sequence[Certificate | CertifiedScore], encoder_id: str) -> None:
    """Refuses certificates that an attack says nothing about.

    Args:
        folder: Of the certification run.
        rows: Its certificates.
        encoder_id: Hash of the attacked encoder.

    Raises:
        ValueError: If the encoder is another, or noise did not enter at the waveform.
    """
    if rows[0].encoder != encoder_id:
        raise ValueError(
            f"certificates and attacks must be of one encoder, got {rows[0].encoder!r} certified in {folder} and "
            f"{encoder_id!r} attacked"
        )
    if rows[0].noise_at != "waveform":
        raise ValueError(
            f"certificates must be about waveforms to stand beside attacks on them, got those of the "
            f"{rows[0].noise_at} in {folder}"
        )
