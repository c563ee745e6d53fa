"""How much of the speech is left: STOI, wide-band PESQ, SI-SDR and SNR, and the CSQI that the TDAP paper makes of them.

STOI is that of Taal et al. 2011, PESQ ITU-T P.862.2, SI-SDR that of Le Roux et al. 2019, all through torchmetrics; CSQI
is eq. (10) of Chen et al. 2024.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import torch
from torch import Tensor
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio, signal_noise_ratio

from voxcert.data.audio import SAMPLE_RATE

METRICS = ("stoi", "pesq", "si_sdr_db", "snr_db")


@dataclass(frozen=True)
class Quality:
    """What one processed utterance sounds like beside the clean one. NaN is no number; `reasons` says why.

    Attributes:
        stoi: Short-time objective intelligibility, about 0 to 1.
        pesq: Wide-band PESQ, 1.04 to 4.64.
        si_sdr_db: Scale-invariant signal-to-distortion ratio in dB.
        snr_db: 10 log10 of the clean power over that of the difference, in dB.
        reasons: Metric -> why it is NaN.
    """

    stoi: float
    pesq: float
    si_sdr_db: float
    snr_db: float
    reasons: dict[str, str] = field(default_factory=dict)


def speech_quality(clean: Tensor, processed: Tensor) -> Quality:
    """Measures a processed waveform against the clean one; what cannot be measured is NaN, with a reason.

    Args:
        clean: Shape (time,), 16 kHz.
        processed: The same shape.

    Returns:
        The metrics. STOI needs about 0.4 s of speech that is not silent, PESQ needs the package `pesq` and speech of
        0.25 s or more, the ratios need a difference that is not 0, and all need waveforms that are not silent.

    Raises:
        ValueError: If the shapes are not one and the same (time,).
    """
    if clean.ndim != 1 or clean.shape != processed.shape:
        raise ValueError(
            f"clean and processed must have one shape (time,), got {tuple(clean.shape)} and {tuple(processed.shape)}"
        )
    clean, processed = clean.detach().double().cpu(), processed.detach().double().cpu()
    values, reasons = {}, {}
    measures = dict(zip(METRICS, (_stoi, _pesq, _si_sdr, _snr), strict=True))
    for name, measure in measures.items():
        values[name], reason = _measured(measure, clean, processed)
        if reason:
            reasons[name] = reason
    return Quality(**values, reasons=reasons)


def csqi(stoi: float, pesq: float, si_sdr_db: float, error_rate: float) -> float:
    """Composite speech quality index, eq. (10) of the TDAP paper: (STOI + PESQ + SI-SDR) x (1 - EER).

    It adds decibels to scores, so SI-SDR is nearly all of it; and where the sum is negative, which a negative SI-SDR
    makes it, a *higher* error rate makes a better index. Look at its parts.

    Args:
        stoi: Mean STOI.
        pesq: Mean wide-band PESQ.
        si_sdr_db: Mean SI-SDR in dB.
        error_rate: Equal error rate in [0, 1].
    """
    return (stoi + pesq + si_sdr_db) * (1 - error_rate)


def mean_quality(measured: Sequence[Quality]) -> dict[str, float]:
    """Means of each metric over the utterances that it could be measured on; NaN where there are none."""
    means = {}
    for name in METRICS:
        values = [getattr(one, name) for one in measured if name not in one.reasons]
        means[name] = fmean(values) if values else float("nan")
    return means


def _measured(measure: Callable[[Tensor, Tensor], float], clean: Tensor, processed: Tensor) -> tuple[float, str]:
    """The value and no reason, or NaN and why."""
    if not (clean.isfinite().all() and processed.isfinite().all()):
        return float("nan"), "a waveform is not finite"
    for name, waveform in (("clean", clean), ("processed", processed)):
        if not waveform.any():
            return float("nan"), f"the {name} waveform is silent"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # pystoi warns and returns 1e-5 where there is too little speech
            value = measure(clean, processed)
    except Exception as error:  # three libraries, and as many ways to say that there is nothing to measure
        return float("nan"), _reason(error)
    if not torch.tensor(value).isfinite():
        return float("nan"), "nothing was changed" if torch.equal(clean, processed) else "the ratio is infinite"
    return value, ""


def _reason(error: Exception) -> str:
    text = error.args[0] if error.args else ""
    text = text.decode() if isinstance(text, bytes) else str(text)
    return " ".join(f"{type(error).__name__}: {text}".split()).removesuffix(":")


def _stoi(clean: Tensor, processed: Tensor) -> float:
    from torchmetrics.functional.audio.stoi import short_time_objective_intelligibility

    return short_time_objective_intelligibility(processed, clean, SAMPLE_RATE).item()


def _pesq(clean: Tensor, processed: Tensor) -> float:
    from torchmetrics.functional.audio.pesq import perceptual_evaluation_speech_quality  # an extra: needs a C compiler

    return perceptual_evaluation_speech_quality(processed.float(), clean.float(), SAMPLE_RATE, "wb").item()


def _si_sdr(clean: Tensor, processed: Tensor) -> float:
    if torch.equal(clean, processed):
        return float("inf")  # torchmetrics would divide by its epsilon
    return scale_invariant_signal_distortion_ratio(processed, clean).item()


def _snr(clean: Tensor, processed: Tensor) -> float:
    if torch.equal(clean, processed):
        return float("inf")
    return signal_noise_ratio(processed, clean).item()
