"""What a radius sounds like: a few utterances as they were heard, with noise, and with perturbations, to be played.

Sounds and spectrograms are data URIs, so that a page needs no other file: FLAC with 16 bits at 16 kHz, and PNG.
"""

import base64
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile
import torch
from jsonargparse import ArgumentError, ArgumentParser
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from voxcert.attacks.budgets import norms
from voxcert.data.audio import SAMPLE_RATE
from voxcert.data.datamodule import SpeakerDataModule
from voxcert.evaluation.attack.pictures import RANGE_DB, decibels
from voxcert.evaluation.attack.row import AttackRow
from voxcert.evaluation.certification.heard import ROUNDING, check_heard
from voxcert.evaluation.certification.tables import is_guarantee
from voxcert.evaluation.report.budgets import on_bare_encoder
from voxcert.evaluation.report.runs import Run
from voxcert.evaluation.report.tables import first_sound
from voxcert.evaluation.run.job import seed_of
from voxcert.evaluation.show.tables import rounded_down
from voxcert.smoothing.certificate import Certificate, signal_to_perturbation_db

NUM_EXAMPLES = 3
COLOURS = 48
"""Of a spectrogram: enough to read it, few enough to be small."""


@dataclass(frozen=True)
class Sound:
    """A waveform to be played.

    Attributes:
        title: What it is.
        about: How it was made, and how loud the speech is over what was added.
        audio: FLAC as a data URI.
        spectrogram: PNG as a data URI; all of an utterance share one scale.
    """

    title: str
    about: str
    audio: str
    spectrogram: str


@dataclass(frozen=True)
class Example:
    """An utterance with its sounds.

    Attributes:
        utterance: Id.
        speaker: Who speaks.
        about: What was proved of it.
        sounds: The original first.
    """

    utterance: str
    speaker: str
    about: str
    sounds: Sequence[Sound]


def examples(run: Run, attacks: Sequence[Run], count: int = NUM_EXAMPLES) -> list[Example]:
    """Utterances of an identification run: those with the smallest, the median and the largest certified radius.

    Args:
        run: With noise at the waveform.
        attacks: Those on its encoder that kept what they wrote lend their perturbations.
        count: How many.

    Raises:
        ValueError: If no rule is a guarantee, or the recordings are not at hand or not those that were certified; says
            which.
    """
    rule, rows = first_sound(run)
    if not is_guarantee(rule):
        raise ValueError("the published rules are not a guarantee, so there is no radius to play")
    certified = sorted((row for row in rows if row.certified), key=lambda row: row.radius)
    if not certified:
        return []
    places = {round(step * (len(certified) - 1) / max(count - 1, 1)) for step in range(count)}
    chosen = [certified[place] for place in sorted(places)]
    waveforms = dict(_heard(run, [row.utterance for row in chosen]))
    for row in chosen:
        check_heard(row, waveforms[row.utterance])
    made = [(row, waveforms[row.utterance]) for row in chosen]
    return [_example(row, rule, waveform, attacks_on(run, attacks, row.utterance, waveform)) for row, waveform in made]


def attacks_on(run: Run, attacks: Sequence[Run], utterance: str, waveform: Tensor) -> list[tuple[AttackRow, Tensor]]:
    """Successes on the bare encoder with what they made of a waveform, where that is at hand, the quietest first."""
    found = []
    for one in attacks:
        for row in on_bare_encoder(run, [one]):
            if row.utterance == utterance and row.success and row.changed and row.file:
                adversarial = _kept(one.folder / row.file)
                if adversarial is not None and _is_made_of(row, adversarial, waveform):
                    found.append((row, adversarial))
    return sorted(found, key=lambda pair: pair[0].l2)


def _kept(path: Path) -> Tensor | None:
    """What an attack wrote; None where it cannot be read any more."""
    try:
        return torch.from_numpy(soundfile.read(path, dtype="float32")[0])
    except soundfile.SoundFileError:
        return None


def _is_made_of(row: AttackRow, adversarial: Tensor, waveform: Tensor) -> bool:
    """Whether the difference of two waveforms is what an attack added."""
    if adversarial.shape != waveform.shape:
        return False
    added = norms((adversarial.double() - waveform.double())[None], "l2").item()
    return math.isclose(added, row.l2, rel_tol=ROUNDING)


def _example(row: Certificate, rule: str, waveform: Tensor, attacks: list[tuple[AttackRow, Tensor]]) -> Example:
    generator = torch.Generator().manual_seed(seed_of("report", row.seed, row.utterance))
    noisy = waveform + row.sigma * torch.randn(waveform.shape, generator=generator)
    made = [
        ("Original", "What the system heard, nothing added.", waveform),
        (
            "Smoothing noise",
            f"A noisy copy at sigma {row.sigma:g}; {row.num_forwards} such are the certificate.",
            noisy,
        ),
    ]
    direction, whose, found = torch.randn(waveform.shape, generator=generator), "White noise, scaled", []
    if attacks:
        attacked, adversarial = attacks[0]
        direction, whose = adversarial - waveform, f"That of the attack {attacked.attack}, scaled"
        answer = "nobody" if attacked.adversarial is None else attacked.adversarial
        about = f"{attacked.attack} succeeded on the bare encoder, which then answers {answer} (empirical)."
        found = [("Adversarial example", about, adversarial)]
    at_radius = waveform + direction * (row.radius / norms(direction[None], "l2").item())
    about = f"{whose} to an l2 norm of {rounded_down(row.radius, 4)}. Whatever is added below it, the answer is proved."
    made += [("Perturbation at the radius", about, at_radius), *found]
    loudest = float(decibels(waveform).max())
    sounds = [
        Sound(title, f"{about} {_loudness(waveform, sound)}".strip(), flac(sound), spectrogram(sound, loudest))
        for title, about, sound in made
    ]
    about = f"Certified radius {rounded_down(row.radius, 4)} (rule {rule}, sigma {row.sigma:g})."
    return Example(row.utterance, row.speaker, about, sounds)


def _loudness(waveform: Tensor, sound: Tensor) -> str:
    snr_db = signal_to_perturbation_db(norms(waveform[None], "l2").item(), norms((sound - waveform)[None], "l2").item())
    if snr_db is None:
        return ""
    if snr_db < 0:
        return f"What was added is {-snr_db:.1f} dB louder than the speech."
    return f"The speech is {snr_db:.1f} dB louder than what was added."


def flac(waveform: Tensor) -> str:
    """A waveform (time,) as a data URI; samples beyond [-1, 1] are clipped, as a loudspeaker would."""
    file = io.BytesIO()
    soundfile.write(file, waveform.clamp(-1, 1).numpy(), SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return _uri("audio/flac", file.getvalue())


def spectrogram(waveform: Tensor, loudest: float) -> str:
    """The spectrogram of a waveform (time,) as a data URI, black where it is `RANGE_DB` below the loudest."""
    level = ((decibels(waveform) - loudest) / RANGE_DB + 1).clamp(0, 1).flip(0)[::2, ::2]
    pixels = Image.fromarray((colormaps["magma"](level.numpy())[..., :3] * 255).astype("uint8")).quantize(COLOURS)
    file = io.BytesIO()
    pixels.save(file, "PNG", optimize=True)
    return _uri("image/png", file.getvalue())


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _heard(run: Run, utterances: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """The waveforms (time,) of utterances, as a run heard them, from the data that its settings name."""
    if not run.config.get("data"):
        raise ValueError("the run did not note its data")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(SpeakerDataModule, "data", sub_configs=True)
    try:
        data = parser.instantiate_classes(parser.parse_object({"data": run.config["data"]})).data
        places = {one.id: place for place, one in enumerate(data.tested("test"))}
        items = data.items("test")
        for utterance in utterances:
            if utterance not in places:
                raise ValueError(f"the data at hand lacks {utterance}")
            item = items[places[utterance]]
            if "error" in item:
                raise ValueError(item["error"])
            yield utterance, item["waveform"]
    except (ArgumentError, OSError) as error:
        raise ValueError(str(error)) from error
