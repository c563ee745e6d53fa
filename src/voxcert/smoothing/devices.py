"""How devices are told apart: for records of speed, and where noise or digits depend on them."""

import torch


def device_name(device: torch.device) -> str:
    """The model of a GPU, or the kind of another device.

    Torch's generator on CUDA shares numbers out to as many threads as the GPU runs at once
    (ATen, `calc_execution_policy`), so that two models draw other noise from one seed.
    """
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
