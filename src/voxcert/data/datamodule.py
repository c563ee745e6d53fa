"""The data module: from a corpus to training batches, enrolment batches and the items that are certified."""

from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Literal, Self

import lightning as L
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch.utils.data import DataLoader, Dataset

from voxcert.data.audio import SAMPLE_RATE
from voxcert.data.corpus import Corpus
from voxcert.data.datasets import (
    WITHOUT_BAD,
    AudioLoader,
    NamedCrops,
    TrainingCrops,
    playing_speed,
    readable,
)
from voxcert.data.enrollment import EnrollUnit, balanced_subset, by_speaker, pieces
from voxcert.data.identity import Planned, planned
from voxcert.data.splits import (
    Count,
    Evaluation,
    Protocol,
    Split,
    check_apart,
    num_able,
    split_speakers,
    to_test_everybody,
)
from voxcert.data.utterance import Utterance

Stage = Literal["val", "test"]


class SpeakerDataModule(L.LightningDataModule):
    """Speakers to train on, and speakers held out to enrol and to test.

    The corpus is read once, when first needed. Who is held out and what enrols depends on `seed` alone. Shuffling and
    the places of crops follow torch's random state, as Lightning seeds it (`seed_everything`, in workers too).

    Args:
        corpus: Where the utterances come from.
        train_parts: Parts of the corpus to train on; every part that is not in `test_parts` when null.
        test_parts: Parts of the corpus whose speakers are tested, all of them.
        num_val_speakers: Speakers of the training parts to hold out for validation. "auto" works the number out (a
            sixth, from one to five, and two are left to train) and prints it.
        num_test_speakers: Speakers of the training parts to hold out for the test, or "auto"; only without
            `test_parts`.
        crop_seconds: Length of enrolment, validation and test crops; shorter utterances are repeated.
        train_crop_seconds: Length of training crops; shorter utterances are repeated.
        num_enroll: Recordings (or segments) that enrol a speaker.
        enroll_unit: "utterance" counts recordings and "segment" counts segments of `crop_seconds`. "auto" counts
            recordings where a speaker has two or more and segments otherwise, and always leaves one to test.
        train_on_enrollment: Train on what enrols the tested speakers too, as one may who attacks a closed set. An
            encoder so trained is tested on speakers that it knows.
        distractors: Enrol the training speakers too, and at test the validation speakers, to make the choice harder.
        speed_factors: Playing speeds of training crops, rounded to fractions with denominators of at most 100; each is
            a class of its own for every speaker.
        crops_per_utterance: Crops of each training utterance in an epoch; more for a tiny corpus.
        batch_size: Waveforms in a batch.
        num_workers: Processes that read audio.
        cache: Keep the training waveforms in memory (230 MB an hour).
        max_test_utterances: Most items to evaluate in each stage, spread evenly over the speakers.
        on_bad_audio: "error" stops at a bad file. "skip" leaves it out with a warning that says why, and reports it
            as an item with "error" where it was to be tested; a speaker who has nothing else to enrol or to train on
            is an error all the same.
        seed: Of the choice of speakers, of enrolment and of the items.
    """

    def __init__(
        self,
        corpus: Corpus,
        train_parts: list[str] | None = None,
        test_parts: list[str] | None = None,
        num_val_speakers: Count = 0,
        num_test_speakers: Count = 0,
        crop_seconds: float = 3.0,
        train_crop_seconds: float = 2.0,
        num_enroll: int = 5,
        enroll_unit: EnrollUnit = "auto",
        train_on_enrollment: bool = False,
        distractors: bool = True,
        speed_factors: list[float] = [1.0],  # noqa: B006 (never changed; a list is what the command line shows)
        crops_per_utterance: int = 1,
        batch_size: int = 64,
        num_workers: int = 0,
        cache: bool = False,
        max_test_utterances: int | None = None,
        on_bad_audio: Literal["error", "skip"] = "error",
        seed: int = 0,
    ):
        super().__init__()
        self.corpus = corpus
        self.train_parts, self.test_parts = train_parts, test_parts
        self.train_on_enrollment = train_on_enrollment
        self.num_val_speakers, self.num_test_speakers = num_val_speakers, num_test_speakers
        self.crop_seconds, self.train_crop_seconds = crop_seconds, train_crop_seconds
        self.protocol = Protocol(num_enroll, enroll_unit, crop_seconds, distractors, seed)
        self.speed_factors = speed_factors
        self.crops_per_utterance = crops_per_utterance
        self.batch_size, self.num_workers = batch_size, num_workers
        self.cache = cache
        self.max_test_utterances = max_test_utterances
        self.skip_bad = on_bad_audio == "skip"
        self._segments: dict[Stage, list[Utterance]] = {}  # read once: validation enrols in every epoch
        self._check()

    @cached_property
    def split(self) -> Split:
        """Training, validation and test material.

        Raises:
            ValueError: The corpus does not have what the arguments ask for, or what is tested is trained on or enrolled
                too, as a copy, or some audio has two speakers.
        """
        split = split_speakers(
            self.corpus.utterances(),
            self.protocol,
            train_parts=self.train_parts,
            test_parts=self.test_parts,
            num_val_speakers=self.num_val_speakers,
            num_test_speakers=self.num_test_speakers,
            train_on_enrollment=self.train_on_enrollment,
        )
        check_apart(split)
        if split.note:
            rank_zero_info(split.note)
        return split

    @property
    def num_classes(self) -> int:
        """Training speakers times speed factors.

        Raises:
            ValueError: There are fewer than two training speakers.
        """
        num_speakers = len(by_speaker(self.split.train))
        if num_speakers < 2:
            raise ValueError(
                f"at least 2 speakers must be left to train, got {num_speakers}: check train_parts and who is held out"
            )
        return num_speakers * len(self.speed_factors)

    @property
    def classes(self) -> dict[str, int]:
        """Class of every training speaker, and of every speed that makes another speaker of one.

        A training checkpoint means nothing without it.
        """
        speakers = list(by_speaker(self.split.train))
        return {
            name if factor == 1 else f"{name} at speed {factor:g}": turn * len(speakers) + place
            for turn, factor in enumerate(self.speed_factors)
            for place, name in enumerate(speakers)
        }

    def train_dataloader(self) -> DataLoader:
        """Shuffled batches {"waveform": (batch, time), "label": (batch,) long, "text": list[str]}."""
        dataset = TrainingCrops(
            self.split.train,
            round(self.train_crop_seconds * SAMPLE_RATE),
            self.speed_factors,
            self.crops_per_utterance,
            self.cache,
            self.skip_bad,
        )
        num_ranks = self.trainer.world_size if self.trainer else 1
        whole_batch = len(dataset) >= self.batch_size * num_ranks
        return self._loader(dataset, shuffle=True, drop_last=whole_batch, persistent_workers=self.num_workers > 0)

    def enrollment_dataloader(self, stage: Stage) -> DataLoader:
        """Batches {"waveform": (batch, time), "speaker": list[str], ...}: every segment of every enrolled recording.

        Args:
            stage: "val" or "test".

        Raises:
            ValueError: The stage has no speakers, or an enrolled speaker has no readable enrolment.
        """
        if stage not in self._segments:
            self._segments[stage] = self._enrollment_segments(self._evaluation(stage), stage)
        return self._loader(self._named(self._segments[stage]), collate_fn=_collate)

    def items(self, stage: Stage) -> Dataset:
        """Items {"utterance": str, "speaker": str, "text": str, "waveform": (time,)} to evaluate, by speaker and id.

        With on_bad_audio "skip", a bad file is an item with "error" (the reason) and no "waveform".

        Args:
            stage: "val" or "test".

        Raises:
            ValueError: The stage has no speakers.
        """
        return self._named(self.tested(stage))

    def plan(self, stage: Stage, texts: bool = False) -> list[Planned]:
        """What enrols and what is tested, and what its files are: the identity of a run on this stage.

        Args:
            stage: "val" or "test".
            texts: Whether what is said counts.

        Raises:
            ValueError: The stage has no speakers.
        """
        return planned(self._evaluation(stage).enroll, self.tested(stage), texts)

    def testing(self, evaluation: Evaluation) -> Self:
        """The same data with another test, all of it: `max_test_utterances` is about a draw, and has no effect.

        Args:
            evaluation: What enrols, each utterance with the name that it enrols as its speaker, and what is tested.
        """
        other = copy(self)
        other.split, other.max_test_utterances, other._segments = replace(self.split, test=evaluation), None, {}
        return other

    def val_dataloader(self) -> DataLoader | list:
        """Batches of the items of "val", the bad ones left out; an empty list without validation speakers."""
        return self._evaluation_loader("val") if self.split.val.test else []

    def test_dataloader(self) -> DataLoader:
        """Batches of the items of "test", the bad ones left out.

        Raises:
            ValueError: There are no test speakers.
        """
        return self._evaluation_loader("test")

    def _enrollment_segments(self, evaluation: Evaluation, stage: Stage) -> list[Utterance]:
        segments = [segment for one in evaluation.enroll for segment in pieces(one, self.crop_seconds)]
        if self.skip_bad:
            segments = readable(segments, self._num_samples, f"enrolment ({stage})")
            lost = {one.speaker for one in evaluation.enroll} - {one.speaker for one in segments}
            if lost:
                raise ValueError(
                    f"enrolled speakers must have readable enrolment audio, {sorted(lost)} have none; {WITHOUT_BAD}"
                )
        return segments

    def _evaluation_loader(self, stage: Stage) -> DataLoader:
        utterances = self.tested(stage)
        if self.skip_bad:
            utterances = readable(utterances, self._num_samples, stage)
        return self._loader(self._named(utterances), collate_fn=_collate, persistent_workers=self.num_workers > 0)

    def _evaluation(self, stage: Stage) -> Evaluation:
        if stage not in ("val", "test"):
            raise ValueError(f"stage must be 'val' or 'test', got {stage!r}")
        evaluation = getattr(self.split, stage)
        if not evaluation.test:
            ways = "num_val_speakers" if stage == "val" else "test_parts or num_test_speakers"
            raise ValueError(f"stage {stage!r} has no speakers: set {ways}")
        return evaluation

    def tested(self, stage: Stage) -> list[Utterance]:
        """The utterances that `items` is about, in their order, without reading any audio.

        Args:
            stage: "val" or "test".

        Raises:
            ValueError: The stage has no speakers.
        """
        utterances = self._evaluation(stage).test
        count = len(utterances) if self.max_test_utterances is None else self.max_test_utterances
        return balanced_subset(utterances, count, seed=self.protocol.seed)

    @property
    def more_to_test(self) -> str:
        """What a message tells who needs two tested speakers and has fewer."""
        if len(by_speaker(self.split.test.test)) > 1:
            return "--data.max_test_utterances must then be 2 or more"
        if self.test_parts:
            return "test_parts must then hold 2 or more speakers with enough material to enrol and test"
        return to_test_everybody(num_able(self.corpus.utterances(), self.protocol, self.train_parts))

    @property
    def _num_samples(self) -> int:
        return round(self.crop_seconds * SAMPLE_RATE)

    def _named(self, utterances: list[Utterance]) -> NamedCrops:
        return NamedCrops(utterances, self._num_samples, report_bad=self.skip_bad)

    def _loader(self, dataset: Dataset, **settings) -> DataLoader:
        return AudioLoader(
            dataset,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            pin_memory=torch.cuda.is_available(),
            **settings,
        )

    def _check(self) -> None:
        for name in ("crop_seconds", "train_crop_seconds"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")
        least = {"num_val_speakers": 0, "num_test_speakers": 0, "num_workers": 0}
        least |= {"num_enroll": 1, "crops_per_utterance": 1, "batch_size": 1, "max_test_utterances": 1}
        for name, bound in least.items():
            value = self.protocol.num_enroll if name == "num_enroll" else getattr(self, name)
            may_be_auto = name in ("num_val_speakers", "num_test_speakers")
            if value is None or (may_be_auto and value == "auto"):
                continue
            if isinstance(value, str) or value < bound:
                allowed = f"at least {bound}{' (or auto)' if may_be_auto else ''}"
                raise ValueError(f"{name} must be {allowed}, got {value}")
        factors = self.speed_factors
        in_range = factors and all(0.1 <= factor <= 10 for factor in factors)
        if not in_range or len(set(map(playing_speed, factors))) < len(factors):
            raise ValueError(
                "speed_factors must be one or more different numbers in [0.1, 10], also as fractions with denominators "
                f"of at most 100, got {factors}"
            )


def _collate(items: list[dict]) -> dict:
    """Names stay lists, waveforms are stacked."""
    batch = {name: [item[name] for item in items] for name in items[0]}
    return batch | {"waveform": torch.stack(batch["waveform"])}
