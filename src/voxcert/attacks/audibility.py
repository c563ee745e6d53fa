"""How much of a perturbation can be heard beside the speech that it was added to.

The masking loss of Qin et al. 2019, the hinge on the threshold, between powers as in their code; and two shares that
measure any attack.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from voxcert.attacks.psychoacoustics import PEAK_DB, MaskingThreshold


class Audibility:
    """Holds perturbations of given waveforms against the masking thresholds of these.

    Silence is put around the waveforms, so that their first and last samples count as much as any other. Bins below 20
    Hz do not count: nobody hears them.

        Audibility(clean).energy(adversarial - clean)

    Args:
        waveform: The clean waveforms, shape (batch, time); the loudest bin of each is taken to be played at 96 dB.
        model: Gives the thresholds; None has the windows of `MaskingThreshold`.
    """

    def __init__(self, waveform: Tensor, model: MaskingThreshold | None = None):
        self._model = (model or MaskingThreshold()).to(waveform)
        self._heard = self._model.quiet.isfinite()
        level, peak = self._model.level(self._surrounded(waveform))
        threshold = self._model.combine(level, self._model.maskers(level))
        self._threshold = 10 ** (threshold[..., self._heard] / 10)
        self._scale = 10 ** ((PEAK_DB - peak) / 10)[:, None, None]

    def loss(self, perturbation: Tensor) -> Tensor:
        """Mean power above the threshold over times and frequencies, (batch,); differentiable, 0 if all is hidden."""
        return F.relu(self._power(perturbation) - self._threshold).mean(dim=(1, 2))

    def energy(self, perturbation: Tensor) -> Tensor:
        """Share of a perturbation's energy that is in bins where it is above the threshold, (batch,) in [0, 1]."""
        power = self._power(perturbation)
        total = power.sum(dim=(1, 2)).clamp(min=torch.finfo(power.dtype).tiny)
        return torch.where(power > self._threshold, power, 0).sum(dim=(1, 2)) / total

    def bins(self, perturbation: Tensor) -> Tensor:
        """Share of times and frequencies at which a perturbation is above the threshold, (batch,) in [0, 1]."""
        return (self._power(perturbation) > self._threshold).to(perturbation).mean(dim=(1, 2))

    def norm_bound(self) -> Tensor:
        """Upper bound on the l2 norm of a perturbation that stays below the threshold everywhere, (batch,).

        Everywhere means in every bin of every frame, those frames included that reach into the silence around the
        waveform. A bin below 20 Hz, for which there is no threshold, must stay below that of the lowest bin that is
        heard. A perturbation that stays g dB below is at most `norm_bound() * 10 ** (-g / 20)`.

        Proof. Let w be the window and X_m the FFT, over N points, of w times frame m of the perturbation d. The powers
        of `MaskingThreshold.power` are ``P_m[k] = |X_m[k]|^2 / (N sum_n w[n]^2)``, for the squares of a Hann window add
        up to 3N/8. Parseval's theorem, with the bins between 0 and 8 kHz counted twice, is
        ``sum_k c_k P_m[k] sum_n w[n]^2 = sum_n w[n]^2 d[m H + n]^2``. The right-hand sides of all frames add up to
        ``sum_t W[t] d[t]^2`` with ``W[t] = sum_m w[t - m H]^2``, which depends on t modulo the hop H alone, since with
        silence around it every sample lies in all the frames that it can lie in. With the smallest W, therefore,
        ``|d|^2 <= sum_m sum_k c_k P_m[k] * sum_n w[n]^2 / min_t W[t]``, and each power is at most its threshold.
        """
        squares, hop = self._model.window.double().square(), self._model.hop_samples
        coverage = F.pad(squares, (0, -len(squares) % hop)).view(-1, hop).sum(dim=0).min()
        limit = torch.cat([self._threshold[..., :1]] * (~self._heard).sum() + [self._threshold], dim=-1).double()
        limit[..., 1 : (len(squares) + 1) // 2] *= 2  # the bins that stand for two of the FFT
        return (limit.sum(dim=(1, 2)) / self._scale[:, 0, 0] * squares.sum() / coverage).sqrt()

    def _power(self, perturbation: Tensor) -> Tensor:
        """Powers on the scale of the threshold, audible frequencies alone: (batch, frames, bins)."""
        return self._scale * self._model.power(self._surrounded(perturbation))[..., self._heard]

    def _surrounded(self, waveform: Tensor) -> Tensor:
        return F.pad(waveform, (len(self._model.window),) * 2)
