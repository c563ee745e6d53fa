"""What an attack did to one utterance: waveforms over spectrograms, as in Fig. 2 of Yao et al. 2022 (SSED)."""

from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

from voxcert.attacks import Attack, saliency, ssed
from voxcert.data.audio import SAMPLE_RATE
from voxcert.data.paths import shown
from voxcert.encoders.base import Recognizer
from voxcert.evaluation.run.folder import file_name
from voxcert.evaluation.show.figures import BLUE, canvas

WINDOW, HOP = 512, 128
RANGE_DB = 80.0
"""From the loudest to the darkest; one scale for all spectrograms of a picture, so that loudness can be compared."""


def attack_mask(attack: Attack, recognizer: Recognizer, waveform: Tensor, labels: Tensor) -> Tensor | None:
    """The mask (batch, time) in [0, 1] of an attack that has one, such as SSED; None of any other."""
    if getattr(attack, "func", None) is not ssed:
        return None
    return saliency(attack.keywords["network"], recognizer, waveform, labels)


def picture_path(utterance: str, radius: float | None) -> str:
    """Where the picture of an utterance is, relative to the run's folder."""
    folder = "pictures" if radius is None else f"pictures/{radius}"
    return f"{folder}/{file_name(utterance)}.png"


def perturbation_figure(waveform: Tensor, adversarial: Tensor, mask: Tensor | None = None, title: str = "") -> Figure:
    """Draws original, adversarial waveform, perturbation, and mask if there is one: in time, and as spectrograms.

    Args:
        waveform: Shape (time,), in [-1, 1].
        adversarial: Shape (time,).
        mask: Shape (time,), in [0, 1].
        title: Above all.

    Returns:
        A figure that belongs to no window and no global state.
    """
    delta = adversarial - waveform
    columns = [("original", waveform), ("adversarial", adversarial), ("perturbation", delta)]
    columns += [] if mask is None else [("mask", mask)]
    loudest = max(float(decibels(waveform).max()), float(decibels(adversarial).max()))
    figure = canvas(3.4 * len(columns), 5)
    axes = figure.subplots(2, len(columns), sharex=True)
    for (name, signal), (top, bottom) in zip(columns, axes.T, strict=True):
        _draw_waveform(top, name, signal, columns)
        image = _draw_spectrogram(bottom, signal, float(decibels(signal).max()) if name == "mask" else loudest)
    axes[0, 0].set_ylabel("amplitude")
    axes[1, 0].set_ylabel("kHz")
    figure.colorbar(image, ax=axes[1, :].tolist(), label="dB", fraction=0.03, pad=0.01)
    figure.suptitle(shown(title), parse_math=False)  # a name may hold a dollar, and be long
    return figure


def _draw_waveform(axes: Axes, name: str, signal: Tensor, columns: Sequence[tuple[str, Tensor]]) -> None:
    time = torch.arange(len(signal)) / SAMPLE_RATE
    axes.plot(time.numpy(), signal.cpu().numpy(), linewidth=0.4, color=BLUE)
    peak = float(signal.abs().max())
    if name in ("original", "adversarial"):
        peak = max(float(one.abs().max()) for _, one in columns[:2])
    axes.set_ylim((0, 1.02) if name == "mask" else (-1.05 * peak or -1, 1.05 * peak or 1))
    axes.set_title(name)


def _draw_spectrogram(axes: Axes, signal: Tensor, loudest: float) -> AxesImage:
    """Draws magnitudes in dB below the loudest of the speech; a mask is no sound and is held against its own."""
    level = decibels(signal).cpu().numpy()
    extent = (0, len(signal) / SAMPLE_RATE, 0, SAMPLE_RATE / 2000)
    image = axes.imshow(
        level - loudest, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=-RANGE_DB, vmax=0
    )
    axes.set_xlabel("s")
    return image


def decibels(signal: Tensor) -> Tensor:
    """Magnitudes (frequencies, frames) in dB."""
    window = torch.hann_window(WINDOW, device=signal.device)
    spectrum = torch.stft(signal.float(), WINDOW, HOP, window=window, return_complex=True)
    return 20 * spectrum.abs().clamp(min=1e-7).log10()
