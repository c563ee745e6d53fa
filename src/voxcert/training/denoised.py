"""Noise as an encoder behind a one-shot denoiser hears it: for training what will be certified behind that denoiser.

Denoised smoothing (Salman et al. 2020) and diffusion denoised smoothing (Carlini et al. 2023, section 5.2) fine-tune
the classifier on what the denoiser makes of noisy inputs.
"""

import torch
from torch import Tensor

from voxcert.evaluation.defence.encoder import denoising, open_purifier
from voxcert.training.noise import Fixed


class Denoised(Fixed):
    """The same sigma for every example, and after it the denoiser that certification would put there.

    The denoiser does not learn, and nothing is differentiated through it. What is trained is the encoder alone, which
    is exported as any other, and certified with `--purifier` and this sigma.

    Args:
        sigma: Standard deviation, waveform amplitude.
        purifier: A checkpoint folder such as checkpoints/dap-mini, or a YAML file. A diffusion purifier becomes the
            one-shot denoiser of sigma.

    Raises:
        ValueError: If sigma is not positive or more than the network knows, or there is no such purifier, or one that
            draws fresh noise on every call.
    """

    def __init__(self, sigma: float, purifier: str):
        super().__init__(sigma)
        self.denoiser = denoising(open_purifier(purifier), sigma).requires_grad_(False)

    def add_noise(self, waveform: Tensor) -> Tensor:
        """What the denoiser makes of waveforms (batch, time) under noise."""
        with torch.no_grad():
            return self.denoiser.to(waveform.device)(super().add_noise(waveform))
