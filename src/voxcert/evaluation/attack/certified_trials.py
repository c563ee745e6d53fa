"""Attacks on claims beside what is certified of the very same trials: error rates, and whether a proof was broken.

Certified error rates are of the worst attack on every trial; those here are of one attack that was run, so they are
lower. An abstention of the attacked system is an error where the claim is genuine, and none where it is not. The
attacked system decides by cosines, so bounds are compared as cosines, whatever a cohort makes of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from voxcert.evaluation.attack.robust_accuracy import breaking_norm
from voxcert.evaluation.attack.row import AttackRow
from voxcert.evaluation.metrics.detection import crossing_error_rate
from voxcert.evaluation.show.tables import certified_percent, percent, render_table, rounded_down
from voxcert.smoothing.certified_score import CertifiedScore

Pair = tuple[CertifiedScore, AttackRow]

ATTACKED_TRIALS_NOTE = (
    "All columns are about the same trials, attacked at the radius. EER: the smallest rate that neither error exceeds "
    "at some threshold; certified from bounds, under attack from scores after it. FRR and FAR: at the threshold of the "
    "attack; under attack an abstention rejects. Certified rates are rounded up, to say no more than is proved. "
    "certified trials: those whose bound at the radius lies on the right side of the threshold; turned: those of them "
    "that the attacked system decided wrongly within the radius (a written file may lie outside by what was rounded)."
)


def attacked_trials(certified: Iterable[CertifiedScore], attacked: Iterable[AttackRow]) -> list[dict[str, Any]]:
    """Compares the trials that are both certified and attacked.

    Args:
        certified: Of a verification run; what is certified of an open set is about no claim, and is left out.
        attacked: Of attacks on claims (scenario `sv`) of the same system: its encoder, sigma and verifier. Of several
            attacks on one trial the one counts that did most.

    Returns:
        For each radius of the attacks, ascending, that is certified too: `radius`, `num_genuine`, `num_impostor`,
        `certified_eer`, `certified_frr`, `certified_far`, `eer`, `frr`, `far`, `num_certified`, `num_turned`,
        `abstention_rate`, `turned` (the certified trials by name) and `num_tried`: certified trials that the attack
        turned or, where the system answered before, changed within the radius. An error rate without trials of its
        kind is None.

    Raises:
        ValueError: If attacks differ in their threshold.
    """
    cosines = {"norm_mean": 0.0, "norm_deviation": 1.0}
    known = {
        (row.encoder, row.sigma, row.verifier, row.utterance, row.claim): replace(row, **cosines)
        for row in certified
        if row.noise_at == "waveform" and not row.open_set  # where attacks smooth; who is named there claimed nothing
    }
    pairs: dict[float, dict[tuple[str, str], Pair]] = {}
    for row in attacked:
        kind = "vote" if row.decision == "vote" else "embedding"
        proof = known.get((row.encoder, row.sigma, kind, row.utterance, row.claim))
        fits = row.scenario == "sv" and row.start == "utterance" and row.failed is None
        if fits and row.radius is not None and proof is not None:
            if row.radius in proof.radii:
                own, trial = pairs.setdefault(row.radius, {}), (proof.utterance, proof.claim)
                own[trial] = max(own.get(trial, (proof, row)), (proof, row), key=_harm)
    thresholds = {row.threshold for own in pairs.values() for _, row in own.values()}
    if len(thresholds) > 1:
        raise ValueError(f"attacks on claims must have one threshold to be put together, got {sorted(thresholds)}")
    return [_compared(radius, list(pairs[radius].values())) for radius in sorted(pairs)]


def _harm(pair: Pair) -> tuple[bool, bool, float]:
    """Orders attacks on one trial: whether it turned within the radius, or at all, then how far the score went."""
    proof, row = pair
    return _turned_within(row), row.turned, -row.score if proof.target else row.score


def _turned_within(row: AttackRow) -> bool:
    return row.turned and breaking_norm(row) <= row.radius


def _compared(radius: float, pairs: Sequence[Pair]) -> dict[str, Any]:
    threshold, genuine = pairs[0][1].threshold, np.array([proof.target for proof, _ in pairs])
    bounds = np.array([proof.bound(proof.radii.index(radius)) for proof, _ in pairs])
    tried = np.array([not row.abstained_before and row.changed and breaking_norm(row) <= radius for _, row in pairs])
    scores = np.array([row.score for _, row in pairs])
    rejected = np.array([row.abstained or row.adversarial is None for _, row in pairs])
    held = np.where(genuine, bounds >= threshold, bounds < threshold)
    turned = held & np.array([_turned_within(row) for _, row in pairs])
    return {
        "radius": radius,
        "num_genuine": int(genuine.sum()),
        "num_impostor": int((~genuine).sum()),
        "certified_eer": _eer(bounds, genuine),
        "certified_frr": _share(~held[genuine]),
        "certified_far": _share(~held[~genuine]),
        "eer": _eer(scores, genuine),
        "frr": _share(rejected[genuine]),
        "far": _share(~rejected[~genuine]),
        "num_certified": int(held.sum()),
        "num_turned": int(turned.sum()),
        "abstention_rate": _share(np.array([row.abstained for _, row in pairs])),
        "turned": [f"{proof.utterance} as {proof.claim}" for (proof, _), one in zip(pairs, turned, strict=True) if one],
        "num_tried": int((turned | held & tried).sum()),
    }


def _eer(scores: np.ndarray, genuine: np.ndarray) -> float | None:
    return None if genuine.all() or not genuine.any() else crossing_error_rate(scores[genuine], scores[~genuine])


def _share(errors: np.ndarray) -> float | None:
    return float(errors.mean()) if len(errors) else None


def attacked_trials_table(compared: Sequence[dict[str, Any]]) -> str:
    """Renders what `attacked_trials` returns as a Markdown table that also reads well in a terminal."""
    return render_table(attacked_trials_lines(compared))


def attacked_trials_lines(compared: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The heading and the cells of that table, a line for each radius."""
    lines = [["radius", "genuine", "impostor", "EER %: certified", "under attack", "FRR %: certified", "under attack"]]
    lines[0] += ["FAR %: certified", "under attack", "certified trials", "turned", "abstains %"]
    kinds = {"certified_": certified_percent, "": percent}
    for one in compared:
        rates = [shown(one[f"{kind}{name}"]) for name in ("eer", "frr", "far") for kind, shown in kinds.items()]
        lines.append(
            [rounded_down(one["radius"], 6), str(one["num_genuine"]), str(one["num_impostor"]), *rates]
            + [str(one["num_certified"]), str(one["num_turned"]), percent(one["abstention_rate"])]
        )
    return lines
