"""Rooms, babble and recordings over training speech, so that noise is not all that an encoder learns to hear through.

What is mixed follows the x-vector recipe (Snyder et al. 2018, ICASSP); mixing and convolution are torchaudio's. Every
change keeps the loudness of the waveform, because the sigma of the noise that comes on top is absolute.
"""

import math
from abc import ABC, abstractmethod
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torchaudio.functional import add_noise, fftconvolve

from voxcert.data import SAMPLE_RATE, AudioError, PassedOver, crop, load
from voxcert.data.audio import duration
from voxcert.data.files import counted, recordings
from voxcert.data.paths import is_folder, shown


class Augmentation(ABC):
    """Changes some examples of a batch; all that is random comes from torch's global generator.

    Args:
        probability: Share of the examples that are changed.
    """

    def __init__(self, probability: float):
        if not 0 < probability <= 1:
            raise ValueError(f"probability must be in (0, 1], got {probability}")
        self.probability = probability

    def __call__(self, waveform: Tensor, label: Tensor) -> Tensor:
        """Changes waveforms (batch, time) of speakers (batch,), and keeps their loudness (RMS) and their length.

        A waveform whose peak would leave [-1, 1] is as loud as fits.
        """
        chosen = (torch.rand(len(waveform)) < self.probability).nonzero()[:, 0].to(waveform.device)
        if len(chosen) == 0:
            return waveform
        before = waveform[chosen]
        after = self.change(waveform, label, chosen)
        loudness = before.norm(dim=-1) / after.norm(dim=-1).clamp_min(1e-9)
        peak = after.abs().amax(dim=-1).clamp_min(1e-9)
        return waveform.index_copy(0, chosen, torch.minimum(loudness, 1 / peak)[:, None] * after)

    @abstractmethod
    def change(self, waveform: Tensor, label: Tensor, chosen: Tensor) -> Tensor:
        """The chosen waveforms (chosen, time) of a batch (batch, time) after the change, at any loudness."""


class Reverberation(Augmentation):
    """A room around the speaker, from recorded impulse responses or from made ones.

    A made response is the direct sound, and a tail of noise that decays by 60 dB in the reverberation time (Polack's
    model) and has the energy that the direct-to-reverberant ratio says.

    Args:
        probability: Share of the examples that are changed.
        seconds: Shortest and longest reverberation time of a made response.
        ratio_db: Smallest and largest direct-to-reverberant ratio of a made response.
        folder: Recorded impulse responses, audio files at any depth; none makes them.

    Raises:
        ValueError: If a range or the probability makes no sense, or the folder holds no audio.
    """

    def __init__(
        self,
        probability: float = 0.5,
        seconds: tuple[float, float] = (0.2, 0.8),
        ratio_db: tuple[float, float] = (-3.0, 12.0),
        folder: str | None = None,
    ):
        super().__init__(probability)
        self.seconds, self.ratio_db = _range("seconds", seconds, above=0.0), _range("ratio_db", ratio_db)
        self.recordings = None if folder is None else Recordings(folder)

    def change(self, waveform: Tensor, label: Tensor, chosen: Tensor) -> Tensor:
        """Convolves with one response each; the direct sound stays where it was."""
        before, num_samples = waveform[chosen], waveform.shape[1]
        if self.recordings is None:
            response = self._made(len(chosen), min(num_samples, round(self.seconds[1] * SAMPLE_RATE)))
        else:
            response = torch.stack([self._recorded(num_samples) for _ in chosen])
        return fftconvolve(before, response.to(before))[:, :num_samples]

    def _made(self, num: int, num_samples: int) -> Tensor:
        """Responses (num, num_samples) that begin with the direct sound."""
        time = torch.arange(num_samples) / SAMPLE_RATE
        tail = torch.randn(num, num_samples) * torch.exp(-math.log(1000) * time / _between(num, *self.seconds))
        tail[:, 0] = 0
        tail *= 10 ** (-_between(num, *self.ratio_db) / 20) / tail.norm(dim=-1, keepdim=True).clamp_min(1e-9)
        tail[:, 0] = 1
        return tail

    def _recorded(self, num_samples: int) -> Tensor:
        """A response (num_samples,) that begins at its largest sample, which is the direct sound."""
        response = self.recordings.whole()
        response = response[response.abs().argmax() :][:num_samples]
        return F.pad(response, (0, num_samples - len(response)))


class Babble(Augmentation):
    """Other speakers of the batch, talking at once.

    Args:
        probability: Share of the examples that are changed.
        num_voices: How many talk; fewer where the batch has fewer other speakers.
        snr_db: Smallest and largest ratio of the speech to all of them.

    Raises:
        ValueError: If a range, a count or the probability makes no sense.
    """

    def __init__(self, probability: float = 0.5, num_voices: int = 5, snr_db: tuple[float, float] = (13.0, 20.0)):
        super().__init__(probability)
        if num_voices < 1:
            raise ValueError(f"num_voices must be at least 1, got {num_voices}")
        self.num_voices, self.snr_db = num_voices, _range("snr_db", snr_db)

    def change(self, waveform: Tensor, label: Tensor, chosen: Tensor) -> Tensor:
        """Adds voices of other speakers, each from a place of its own in its crop."""
        babble = torch.stack([self._babble(waveform, label != label[index]) for index in chosen])
        return _mixed(waveform[chosen], babble, self.snr_db)

    def _babble(self, waveform: Tensor, others: Tensor) -> Tensor:
        """The sum (time,) of some rows of waveforms (batch, time), those where `others` (batch,) says so."""
        rows = others.nonzero()[:, 0].cpu()
        voices = rows[torch.randperm(len(rows))[: self.num_voices]].tolist()
        total = torch.zeros_like(waveform[0])
        for voice in voices:
            total = total + waveform[voice].roll(int(torch.randint(waveform.shape[1], ())))
        return total


class Background(Augmentation):
    """Music, noise or whatever else a folder holds, under the speech.

    Args:
        folder: Audio files, at any depth, such as `musan/music`.
        probability: Share of the examples that are changed.
        snr_db: Smallest and largest ratio of the speech to the recording.

    Raises:
        ValueError: If a range or the probability makes no sense, or the folder holds no audio.
    """

    def __init__(self, folder: str, probability: float = 0.5, snr_db: tuple[float, float] = (5.0, 15.0)):
        super().__init__(probability)
        self.snr_db, self.recordings = _range("snr_db", snr_db), Recordings(folder)

    def change(self, waveform: Tensor, label: Tensor, chosen: Tensor) -> Tensor:
        """Adds a stretch of a random recording to each."""
        background = torch.stack([self.recordings.stretch(waveform.shape[1]) for _ in chosen])
        return _mixed(waveform[chosen], background.to(waveform), self.snr_db)


class Recordings:
    """The audio files of a folder, to draw from.

    Args:
        folder: Where they are, at any depth.

    Raises:
        ValueError: If there is no such folder, or no audio in it; the message says what is there instead.
    """

    def __init__(self, folder: str):
        if not is_folder(folder):
            raise ValueError(f"folder must be an existing folder, got {shown(folder)!r}")
        found = list(recordings(Path(folder)))
        self.files = [path for path in found if not isinstance(path, PassedOver)]
        if not self.files:
            passed = counted(one for one in found if isinstance(one, PassedOver))
            raise ValueError("; ".join([f"folder must hold audio files, got {shown(folder)!r} with none", *passed]))

    def whole(self) -> Tensor:
        """A random file: (time,).

        Raises:
            AudioError: The file is bad.
        """
        return load(self._draw(), min_seconds=0)

    def stretch(self, num_samples: int) -> Tensor:
        """A random stretch (num_samples,) of a random file, repeated where that is shorter.

        Where the stretch is digitally silent, it is silence.

        Raises:
            AudioError: The file is bad.
        """
        path, seconds = self._draw(), num_samples / SAMPLE_RATE
        room = duration(path) - seconds
        if room <= 0:
            return crop(load(path), num_samples)
        start = room * float(torch.rand(()))
        try:
            return crop(load(path, start, start + seconds), num_samples)
        except AudioError:  # silent just there; or really bad, and then the whole file is too
            return crop(load(path), num_samples, torch.default_generator)

    def _draw(self) -> Path:
        return self.files[int(torch.randint(len(self.files), ()))]


def _mixed(speech: Tensor, other: Tensor, snr_db: tuple[float, float]) -> Tensor:
    """Speech (batch, time) with something else at a random ratio; as it is where either is silent."""
    both = (speech.norm(dim=-1, keepdim=True) > 0) & (other.norm(dim=-1, keepdim=True) > 0)
    mixed = add_noise(speech, other, _between(len(speech), *snr_db)[:, 0].to(speech))
    return torch.where(both, mixed, speech)


def _between(num: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(num, 1)


def _range(name: str, values: tuple[float, float], above: float = -math.inf) -> tuple[float, float]:
    low, high = values
    if not above < low <= high < math.inf:
        least = "" if above == -math.inf else f" above {above:g}"
        raise ValueError(f"{name} must be a smallest and a largest value{least}, got {low} and {high}")
    return low, high
