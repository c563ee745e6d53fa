"""Weights from Keras' HDF5 files as tensors, under torch's names and in torch's order of dimensions.

Nothing but arrays is read: the description of the model, which can hold code, is not looked at.
"""

from pathlib import Path

import torch
from torch import Tensor

from voxcert.encoders.checkpoint import CheckpointError

NAMES = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
ORDERS = {4: (3, 2, 0, 1), 2: (1, 0)}
"""Keras has (height, width, inputs, outputs) and (inputs, outputs)."""


def read_keras(path: Path) -> dict[str, dict[str, Tensor]]:
    """Reads the weights of a Keras `.h5` file.

    Args:
        path: What `save_weights` or `save` wrote for a model of convolutions, linear layers and normalisations.

    Returns:
        {layer: {name: tensor}}, float32.

    Raises:
        CheckpointError: If h5py is not installed, or if the file is missing or is not such a file.
    """
    try:
        import h5py
    except ImportError as error:
        raise CheckpointError(f'{path} needs h5py to be read: pip install "voxcert[keras-weights]"') from error
    if not path.is_file():
        raise CheckpointError(f"{path} is missing")
    layers: dict[str, dict[str, Tensor]] = {}

    def collect(name, item):
        if isinstance(item, h5py.Dataset):
            layer, *_, weight = name.split("/")
            weight = weight.removesuffix(":0")
            array = torch.from_numpy(item[()]).float()
            layers.setdefault(layer, {})[NAMES.get(weight, weight)] = array.permute(ORDERS.get(array.ndim, (0,)))

    try:
        with h5py.File(path, "r") as file:
            file.get("model_weights", file).visititems(collect)
    except (OSError, TypeError, ValueError, RuntimeError) as error:  # not HDF5; torn; not arrays of numbers
        raise CheckpointError(f"{path} cannot be read as a file of Keras weights: {error}") from error
    return layers
