"""Map-style datasets: random crops with labels to train on, and named central crops to enrol and evaluate with."""

import math
import warnings
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from voxcert.data.audio import SAMPLE_RATE, AudioError, check_audible, crop, resample
from voxcert.data.paths import shown
from voxcert.data.utterance import Utterance

WITHOUT_BAD = "`voxcert data check --write` makes a manifest of what is usable"


class TrainingCrops(Dataset):
    """Random crops of training utterances; changed in speed, a speaker is a new class.

    Item i is a crop of utterance `i // (crops_per_utterance * len(speed_factors))`, at speed factor number
    `i % len(speed_factors)`. Class `f * num_speakers + s` is speaker s (in order of name) at speed factor number f.
    The place of a crop comes from torch's default generator, which DataLoader workers seed apart.

    Args:
        utterances: What to crop.
        num_samples: Length of a crop.
        speed_factors: Playing speeds; 1.0 leaves an utterance as it is.
        crops_per_utterance: Crops of each utterance and speed in an epoch.
        cache: Read all utterances now and keep them, shared with workers that are forked.
        skip_bad: Put the next readable utterance of its speaker in the place of a bad one, with a warning, instead of
            raising.
    """

    def __init__(
        self,
        utterances: list[Utterance],
        num_samples: int,
        speed_factors: Sequence[float] = (1.0,),
        crops_per_utterance: int = 1,
        cache: bool = False,
        skip_bad: bool = False,
    ):
        self.utterances = utterances
        self.num_samples = num_samples
        self.ratios = [1 / playing_speed(factor) for factor in speed_factors]
        self.crops_per_utterance = crops_per_utterance
        self.skip_bad = skip_bad
        self.speakers = {name: i for i, name in enumerate(sorted({u.speaker for u in utterances}))}
        self._kept = [self._load(utterance) for utterance in utterances] if cache else None

    def __len__(self) -> int:
        return len(self.utterances) * self.crops_per_utterance * len(self.ratios)

    def __getitem__(self, index: int) -> dict[str, str | Tensor]:
        """Crop of shape (num_samples,) as "waveform", its class as "label", and "text", what the utterance says.

        Raises:
            AudioError: The file is bad and `skip_bad` is off, or the speaker has no readable file.
        """
        turn, speed = divmod(index, len(self.ratios))
        utterance, waveform = self._readable(turn // self.crops_per_utterance)
        ratio = self.ratios[speed]
        source = _audible_crop(waveform, math.ceil(self.num_samples / ratio))
        label = torch.tensor(speed * len(self.speakers) + self.speakers[utterance.speaker])
        return {"waveform": resample(source, ratio)[: self.num_samples], "label": label, "text": utterance.text}

    def _readable(self, first: int) -> tuple[Utterance, Tensor]:
        speaker = self.utterances[first].speaker
        for place in chain(range(first, len(self.utterances)), range(first)):
            if self.utterances[place].speaker == speaker:
                waveform = self._load(self.utterances[place]) if self._kept is None else self._kept[place]
                if waveform is not None:
                    return self.utterances[place], waveform
        raise AudioError(f"training speakers must have readable audio, {speaker!r} has none; {WITHOUT_BAD}")

    def _load(self, utterance: Utterance) -> Tensor | None:
        try:
            return utterance.load()
        except AudioError as error:
            if not self.skip_bad:
                raise
            warnings.warn(f"left out of training: {error}", stacklevel=2)
            return None


def playing_speed(factor: float) -> Fraction:
    """The playing speed that a factor stands for: the nearest fraction by which a waveform can be resampled."""
    return Fraction(factor).limit_denominator(100)


class AudioLoader(DataLoader):
    """A loader whose bad file is named the same whether a worker reads it or not.

    torch puts a worker's traceback into the message of its error; here the message is what it was.
    """

    def __iter__(self) -> Iterator:
        """Batches.

        Raises:
            AudioError: A file is bad.
        """
        try:
            yield from super().__iter__()
        except AudioError as error:
            raise AudioError(str(error).rpartition("AudioError: ")[2].strip()) from None


class NamedCrops(Dataset):
    """Central crops of utterances with their id, speaker and text.

    Args:
        utterances: What to crop.
        num_samples: Length of a crop.
        report_bad: Give a bad file as an item with "error" (the reason) instead of "waveform", and do not raise.
    """

    def __init__(self, utterances: list[Utterance], num_samples: int, report_bad: bool = False):
        self.utterances = utterances
        self.num_samples = num_samples
        self.report_bad = report_bad

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int) -> dict[str, str | Tensor]:
        """Names "utterance" and "speaker", its "text", and "waveform" of shape (num_samples,), or "error".

        Raises:
            AudioError: The file is bad and `report_bad` is off.
        """
        utterance = self.utterances[index]
        item = {"utterance": utterance.id, "speaker": utterance.speaker, "text": utterance.text}
        try:
            return item | {"waveform": load_crop(utterance, self.num_samples)}
        except AudioError as error:
            if not self.report_bad:
                raise
            return item | {"error": str(error)}


def load_crop(utterance: Utterance, num_samples: int) -> Tensor:
    """The central crop of an utterance: the very samples that enrol or are tested, and checked as such.

    Args:
        utterance: What to read.
        num_samples: Length of the crop; a shorter utterance is repeated.

    Returns:
        Waveform of shape (num_samples,).

    Raises:
        AudioError: The file is bad, or there is nothing to hear in the crop.
    """
    waveform = utterance.load()
    cropped = crop(waveform, num_samples)
    check_audible(cropped, crop_name(utterance, len(waveform), num_samples))
    return cropped


def crop_name(utterance: Utterance, length: int, num_samples: int) -> str:
    """What a message calls the central crop of an utterance.

    Args:
        utterance: What is cropped.
        length: Of its waveform, in samples.
        num_samples: Length of the crop.
    """
    first = utterance.start + max(0, length - num_samples) // 2 / SAMPLE_RATE
    return f"{shown(utterance.path)}: the crop of {num_samples / SAMPLE_RATE:g} s that begins at {first:.3f} s"


def readable(utterances: list[Utterance], num_samples: int, purpose: str) -> list[Utterance]:
    """Read the crop of every utterance and keep the good ones, with one warning that lists the others and why.

    Args:
        utterances: What to try.
        num_samples: Length of the crops that will be used.
        purpose: What they are left out of, for the warning.
    """
    good, bad = [], []
    for utterance in utterances:
        try:
            load_crop(utterance, num_samples)
            good.append(utterance)
        except AudioError as error:
            bad.append(str(error))
    if bad:
        warnings.warn(f"{len(bad)} utterances left out of {purpose}:\n" + "\n".join(bad), stacklevel=2)
    return good


def _audible_crop(waveform: Tensor, num_samples: int) -> Tensor:
    """A random crop; where that is digitally silent, one around a random place that is not."""
    drawn = crop(waveform, num_samples, torch.default_generator)
    if drawn.amin() < drawn.amax():
        return drawn
    changes = (waveform.diff() != 0).nonzero()[:, 0]
    place = int(changes[torch.randint(len(changes), ())]) - num_samples // 2
    first = min(max(0, place), len(waveform) - num_samples)
    return waveform[first : first + num_samples]
