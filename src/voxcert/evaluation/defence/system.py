"""A speaker verification system behind a purifier: it enrols, scores claims, and is attacked by one who knows it.

The adaptive attack follows Athalye et al. 2018: the purifier's own gradients where it has some, those of the identity
(BPDA) where it has none, and an expectation over its draws where it is random.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from voxcert.attacks import Attack, ExpectationOverTransformation, Verification
from voxcert.encoders.base import Recognizer, enroll
from voxcert.evaluation.certification.folder import read_prototypes, write_prototypes
from voxcert.evaluation.defence.encoder import DefendedEncoder, open_purifier, system_id
from voxcert.evaluation.defence.settings import UNDEFENDED, Defence, DefenceSettings
from voxcert.evaluation.run.audio_files import rounded
from voxcert.evaluation.run.folder import file_name
from voxcert.evaluation.run.job import seed_of
from voxcert.purifiers.hearing import Aud2Vec
from voxcert.purifiers.text import TextEmbedder

ENROLLED = "enrolled"


class Words:
    """What purifiers are told about the words.

    Args:
        transcripts: Utterance -> transcript, of all test utterances.
        embedder: Text to embedding; None where no defence reads.
        listener: Waveform to embedding; None where none listens.
        seed: Of the choice of wrong transcripts.
    """

    def __init__(
        self,
        transcripts: dict[str, str],
        embedder: TextEmbedder | None = None,
        listener: Aud2Vec | None = None,
        seed: int = 0,
    ):
        self.transcripts, self.embedder, self.listener, self.seed = transcripts, embedder, listener, seed

    def of(self, kind: str, utterances: Sequence[str], waveform: Tensor) -> Tensor | None:
        """Embeddings (batch, 768) of the text of some kind (see `Defence`) for waveforms (batch, time), or None."""
        if kind == "none":
            return None
        if kind == "heard":
            return self.listener(waveform)
        own = [self.transcripts[utterance] for utterance in utterances]
        return self.read(own if kind == "transcript" else map(self._wrong, utterances, own), waveform.device)

    def read(self, texts: Iterable[str], device: torch.device) -> Tensor:
        """Embeds texts as (batch, 768)."""
        return self.embedder(list(texts)).to(device)

    def _wrong(self, utterance: str, own: str) -> str:
        others = sorted(set(self.transcripts.values()) - {own, ""})
        return others[seed_of(self.seed, utterance, "text") % len(others)] if others else ""


class DefendedSystem:
    """A defence with an encoder behind it.

    Args:
        defence: What stands before the encoder; None for nothing.
        encoder: Waveform (batch, time) -> unit embedding (batch, dim), in eval mode, on `device`.
        words: What a purifier that reads is told.
        settings: Enrolment, draws, seed.
        device: Where to compute.
        encoder_id: Hash of the encoder.
    """

    def __init__(
        self,
        defence: Defence | None,
        encoder: nn.Module,
        words: Words,
        settings: DefenceSettings,
        device: torch.device,
        encoder_id: str = "",
    ):
        self.name, self.text = (UNDEFENDED, "none") if defence is None else (defence.name, defence.text)
        self.encoder, self.words, self.settings, self.device = encoder, words, settings, device
        self.purifier = None if defence is None else open_purifier(defence.purifier).to(device)
        self.id = system_id(encoder_id, self.purifier)
        self.speakers: list[str] = []

    def enroll(self, batches: Iterable[dict[str, Any]]) -> None:
        """Enrols speakers, through the purifier if the settings say so, or takes those that the folder has."""
        folder = Path(self.settings.output_dir) / ENROLLED / self.name / file_name(self.id)  # other weights, others
        found = read_prototypes(folder)
        if found is None:
            through = self.purifier is not None and self.settings.purify_enrollment
            recognizer = enroll(self.encoder, self._purified(batches) if through else batches, device=self.device)
            write_prototypes(folder, recognizer.prototypes, recognizer.speakers)
            found = recognizer.prototypes, recognizer.speakers
        self.prototypes, self.speakers = found[0].to(self.device), found[1]

    @torch.no_grad()
    def _purified(self, batches: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The batches, purified with the right text (also by a defence that is told a wrong one in tests)."""
        for number, batch in enumerate(batches):
            waveform, text = batch["waveform"].to(self.device), None
            if self.text == "heard":
                text = self.words.listener(waveform)
            elif self.text != "none":
                text = self.words.read(batch["text"], self.device)
            with self._seeded(seed_of(self.settings.seed, "enrolment", number)):
                yield batch | {"waveform": self.purifier(waveform, text)}

    @torch.no_grad()
    def judge(self, waveform: Tensor, utterances: Sequence[str], claims: Tensor) -> tuple[Tensor, Tensor]:
        """Purifies and scores.

        Args:
            waveform: Shape (batch, time).
            utterances: Ids.
            claims: Indices of the claimed speakers, shape (batch,).

        Returns:
            Scores (batch,) and purified waveforms (batch, time).
        """
        if self.purifier is not None:
            text = self.words.of(self.text, utterances, waveform)
            with self._seeded(seed_of(self.settings.seed, "judge", *utterances)):
                waveform = self.purifier(waveform, text)
        return (self.encoder(waveform) * self.prototypes[claims]).sum(dim=1), waveform

    def attacked(
        self, attack: Attack, waveform: Tensor, utterances: Sequence[str], claims: Tensor, accept: bool, name: str
    ) -> Tensor:
        """Attacks claims of this system.

        The threshold is out of reach, so that an attack spends its whole budget: error rates are taken over all
        thresholds. What a purifier is told of the words is not attacked.

        Args:
            attack: With a budget.
            waveform: Shape (batch, time).
            utterances: Ids.
            claims: Indices of the claimed speakers, shape (batch,).
            accept: Whether to have the claims accepted; otherwise rejected.
            name: Of the attack, for its seed.

        Returns:
            Adversarial waveforms (batch, time), rounded to 16 bits.
        """
        seed = seed_of(self.settings.seed, name, accept, *utterances)
        adversarial = attack(
            self._exposed(waveform, utterances, seed),
            waveform,
            claims,
            objective=Verification(1.01 if accept else -1.01),
            targeted=accept,
            generator=torch.Generator(self.device).manual_seed(seed),
        )
        return rounded(adversarial)

    def _exposed(self, waveform: Tensor, utterances: Sequence[str], seed: int) -> nn.Module:
        if self.purifier is None:
            return Recognizer(self.encoder, self.prototypes, self.speakers)
        text = self.words.of(self.text, utterances, waveform)
        defended = DefendedEncoder(self.purifier, self.encoder, text)
        recognizer = Recognizer(defended, self.prototypes, self.speakers)
        if self.purifier.seed is not None:
            return recognizer
        return ExpectationOverTransformation(recognizer, self.settings.num_draws, per_row=True, seed=seed)

    @contextmanager
    def _seeded(self, seed: int) -> Iterator[None]:
        """Fresh noise comes from torch's global generators: seeded here, and as they were afterwards."""
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield
