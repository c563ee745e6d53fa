"""The label map belongs to a checkpoint: a resumed training keeps its classes, or is refused.

With a speaker renamed or added, the same class would mean somebody else, and nothing in the weights says so.
"""

from typing import Any

import lightning as L

from voxcert.data.identity import check_labels

CLASSES = "classes"


def keep_classes(module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
    """Notes in a checkpoint which speaker each class is."""
    checkpoint[CLASSES] = _classes(module)


def check_classes(module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
    """Refuses a checkpoint whose classes are not those of the data at hand.

    Raises:
        ValueError: If they differ; names the speakers and the way out.
    """
    now = _classes(module)
    if now is not None and checkpoint.get(CLASSES) is not None:
        check_labels(checkpoint[CLASSES], now)


def _classes(module: L.LightningModule) -> dict[str, int] | None:
    """Class of every training speaker; None away from a trainer with data, as in an export."""
    trainer = module._trainer  # the property raises where there is none
    return None if trainer is None else getattr(trainer.datamodule, "classes", None)
