import sys

import h5py
import numpy as np
import pytest
import torch

from voxcert.encoders.checkpoint import CheckpointError
from voxcert.encoders.published.keras import read_keras


@pytest.fixture
def path(tmp_path):
    """A convolution of 2 x 3 on 4 inputs with 5 outputs, a linear layer of 2 x 6, and a normalisation."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["conv/conv/kernel:0"] = np.arange(120.0).reshape(2, 3, 4, 5)
        file["conv/conv/bias:0"] = np.arange(5.0)
        file["dense/dense/kernel:0"] = np.arange(12.0).reshape(2, 6)
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            file[f"norm/norm/{name}:0"] = np.full(3, len(name), dtype=np.float64)
    return tmp_path / "x.h5"


def test_names_and_orders_are_torchs(path):
    layers = read_keras(path)
    kernel = np.arange(120.0).reshape(2, 3, 4, 5)
    assert layers["conv"]["weight"].shape == (5, 4, 2, 3)
    assert layers["conv"]["weight"][3, 1, 0, 2] == kernel[0, 2, 1, 3]
    assert layers["conv"]["bias"].tolist() == [0, 1, 2, 3, 4]
    assert layers["dense"]["weight"].tolist() == [[0, 6], [1, 7], [2, 8], [3, 9], [4, 10], [5, 11]]
    assert {name: value[0].item() for name, value in layers["norm"].items()} == {
        "weight": 5,
        "bias": 4,
        "running_mean": 11,
        "running_var": 15,
    }
    assert all(value.dtype == torch.float32 for weights in layers.values() for value in weights.values())


def test_a_whole_model_gives_the_weights_inside(path, tmp_path):
    """Newer releases of Keras leave out the ":0"; the optimizer's state lies beside the weights."""
    with h5py.File(path) as weights, h5py.File(tmp_path / "model.h5", "w") as model:
        model["optimizer_weights/conv/momentum:0"] = np.zeros(5)
        for layer, names in (("conv", ("kernel", "bias")), ("dense", ("kernel",))):
            for name in names:
                model[f"model_weights/{layer}/{layer}/{name}"] = weights[f"{layer}/{layer}/{name}:0"][()]
    whole, bare = read_keras(tmp_path / "model.h5"), read_keras(path)
    assert whole.keys() == {"conv", "dense"}
    assert torch.equal(whole["conv"]["weight"], bare["conv"]["weight"])
    assert torch.equal(whole["dense"]["weight"], bare["dense"]["weight"])


def test_files_of_another_kind_are_refused(path, tmp_path):
    with pytest.raises(CheckpointError, match=r"nothing\.h5 is missing"):
        read_keras(tmp_path / "nothing.h5")
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(CheckpointError, match=r"x\.h5 cannot be read as a file of Keras weights"):
        read_keras(path)
    with h5py.File(path, "w") as file:
        file["layer/weight"] = "text"
    with pytest.raises(CheckpointError, match=r"x\.h5 cannot be read as a file of Keras weights"):
        read_keras(path)


def test_a_missing_extra_is_named(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(CheckpointError, match=r'x\.h5 needs h5py to be read: pip install "voxcert\[keras-weights\]"'):
        read_keras(path)
