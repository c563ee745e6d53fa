"""Embedding distillation: under noise, a student learns to place speech where a frozen teacher places it clean.

Agreement is measured in cosines, and by naming the speaker among those of the batch: InfoNCE (van den Oord et al. 2018,
arXiv 1807.03748, eq. 4) with the teacher's embeddings as keys, as in Tian et al. 2020 (arXiv 1910.10699).
"""

import copy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxcert.encoders.base import Encoder
from voxcert.encoders.loading import encoder_hash, load_encoder
from voxcert.training.finite import check_at_least_0, check_positive


class Lesson(NamedTuple):
    """What a teacher says of a batch: an embedding of each example, and a centre of each speaker."""

    target: Tensor
    """Unit embeddings of the clean examples, shape (batch, dim)."""
    centres: Tensor
    """Normalised mean embedding of each speaker of the batch, shape (speakers, dim)."""
    place: Tensor
    """Which centre is an example's own, shape (batch,)."""


class Distillation(nn.Module):
    """A teacher, and how much each part of what a student learns from it counts.

    `cosine_weight * (1 - cos(student, teacher)) + contrast_weight * contrast`, averaged over examples and views. The
    contrast is the cross-entropy of the student's cosines to the batch's speakers, divided by the temperature. Examples
    of one speaker share a centre, so that none is pushed away from its own speaker.

    Where the embeddings of the two differ in size, a linear layer maps the student's to the teacher's while training.

    Args:
        teacher: The teacher's weights: what `load_encoder` takes, of any encoder. None is a copy of the student as it
            starts, so that it keeps what it knew.
        cosine_weight: Factor of the cosine distance.
        contrast_weight: Factor of the contrast; a larger batch makes it harder.
        temperature: Divides the cosines of the contrast.

    Raises:
        ValueError: If a weight is negative or both are 0, or the temperature is not positive.
    """

    def __init__(
        self,
        teacher: str | None = None,
        cosine_weight: float = 1.0,
        contrast_weight: float = 1.0,
        temperature: float = 0.05,
    ):
        super().__init__()
        for name, weight in (("cosine_weight", cosine_weight), ("contrast_weight", contrast_weight)):
            check_at_least_0(name, weight)
        if cosine_weight == contrast_weight == 0:
            raise ValueError("cosine_weight or contrast_weight must be above 0, got 0 for both")
        check_positive("temperature", temperature)
        self.source = teacher
        self.cosine_weight, self.contrast_weight, self.temperature = cosine_weight, contrast_weight, temperature

    def start(self, student: Encoder) -> None:
        """Brings the teacher; to be called once, when the student has the weights that it starts from.

        Raises:
            CheckpointError: As `load_encoder`.
        """
        teacher = copy.deepcopy(student) if self.source is None else load_encoder(self.source)
        # In a tuple it is no submodule: not trained, not wrapped for several devices, not in checkpoints.
        self._teacher = (teacher.eval().requires_grad_(False),)
        self.teacher_hash = encoder_hash(teacher)
        same_size = teacher.dim == student.dim
        self.projection = nn.Identity() if same_size else nn.Linear(student.dim, teacher.dim, bias=False)

    @torch.no_grad()
    def teach(self, waveform: Tensor, label: Tensor) -> Lesson:
        """Listens to clean waveforms (batch, time) whose speakers have labels (batch,)."""
        return lesson(self._teacher[0].to(waveform.device)(waveform), label)

    def logits(self, embedding: Tensor, taught: Lesson) -> Tensor:
        """Cosines of the student's embeddings (..., dim) to the centres, over temperature: (..., speakers), float32."""
        with torch.autocast(embedding.device.type, enabled=False):
            return self._projected(embedding) @ taught.centres.T / self.temperature

    def forward(self, embedding: Tensor, taught: Lesson) -> tuple[Tensor, Tensor]:
        """Measures the student's unit embeddings (views, batch, dim): mean cosine distance, and contrast."""
        projected = self._projected(embedding)
        return cosine_distance(projected, taught.target), contrast(self.logits(embedding, taught), taught.place)

    def _projected(self, embedding: Tensor) -> Tensor:
        with torch.autocast(embedding.device.type, enabled=False):
            return F.normalize(self.projection(embedding.float()), dim=-1)


def lesson(target: Tensor, label: Tensor) -> Lesson:
    """Gathers a teacher's unit embeddings (batch, dim) by speaker.

    Args:
        target: Unit embeddings, shape (batch, dim).
        label: Who speaks, shape (batch,).
    """
    speakers, place = label.unique(return_inverse=True)
    sums = target.new_zeros(len(speakers), target.shape[1]).index_add(0, place, target)
    return Lesson(target, F.normalize(sums, dim=-1), place)


def cosine_distance(embedding: Tensor, target: Tensor) -> Tensor:
    """Mean of 1 - cos over unit embeddings (..., batch, dim) and their targets (batch, dim)."""
    return 1 - (embedding * target).sum(dim=-1).mean()


def contrast(logits: Tensor, place: Tensor) -> Tensor:
    """Mean cross-entropy of logits (..., batch, speakers) whose true speakers are at `place` (batch,)."""
    return F.cross_entropy(logits.flatten(0, -2), place.expand(logits.shape[:-1]).flatten())
