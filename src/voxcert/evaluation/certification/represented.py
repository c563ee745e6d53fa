"""Speaker data seen at a representation: the certification job smooths there as it does at the waveform.

See `voxcert.encoders.representation` for the idea and its source.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from voxcert.data.corpus import Utterance
from voxcert.data.identity import Planned
from voxcert.encoders.representation import SplitEncoder
from voxcert.evaluation.run.job import SpeakerData


class RepresentedData:
    """Speaker data whose `waveform` is the flat representation that `split` makes of it, on the split's device.

    Args:
        data: Enrolment batches and test items, as `certify_speakers` takes them.
        split: The encoder, cut in two.
        device: Where the encoder is.
    """

    def __init__(self, data: SpeakerData, split: SplitEncoder, device: torch.device):
        self.data, self.split, self.device = data, split, device

    def enrollment_dataloader(self, stage: str) -> Iterator[dict[str, Any]]:
        """Enrolment batches: `waveform` is (batch, size)."""
        return map(self._represented, self.data.enrollment_dataloader(stage))

    def tested(self, stage: str) -> Sequence[Utterance]:
        """What the items are about."""
        return self.data.tested(stage)

    def plan(self, stage: str, texts: bool = False) -> Sequence[Planned]:
        """What enrols and what is tested."""
        return self.data.plan(stage, texts)

    def items(self, stage: str) -> Sequence[dict[str, Any]]:
        """Test items: `waveform` is (size,); items that could not be read stay as they are."""
        return _Items(self.data.items(stage), self)

    @torch.inference_mode()
    def _represented(self, record: dict[str, Any]) -> dict[str, Any]:
        if "waveform" not in record:
            return record
        waveform = torch.atleast_2d(record["waveform"]).to(self.device)
        flat = self.split.represent(waveform)
        return {**record, "waveform": flat.view(*record["waveform"].shape[:-1], -1)}


class _Items(Sequence):
    def __init__(self, items: Any, data: RepresentedData):
        self._items, self._data = items, data

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self._data._represented(self._items[index])


def at_representation(
    encoder: nn.Module, data: SpeakerData, noise_at: str, device: torch.device
) -> tuple[nn.Module, SpeakerData]:
    """The part of the encoder that noise passes through, and the data as that part hears it.

    Args:
        encoder: Waveform (batch, time) -> unit embedding (batch, dim), on `device`.
        data: Enrolment batches and test items.
        noise_at: `waveform` leaves both as they are; `magnitude` or `features` cut the encoder there.
        device: Where the encoder is.

    Raises:
        ValueError: If the encoder has no such representation.
    """
    if noise_at == "waveform":
        return encoder, data
    split = SplitEncoder(encoder, noise_at)
    return split, RepresentedData(data, split, device)
