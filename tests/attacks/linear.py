"""A linear recognizer without a front-end, for which the smallest perturbation of any attack is known."""

import numpy as np
import torch
from scipy.optimize import nnls


class Linear(torch.nn.Module):
    """scores = waveform @ weights.T, with orthogonal weights of norm 1: all hyperplanes are alike."""

    def __init__(self, num_speakers, time, seed=0):
        super().__init__()
        draws = torch.randn(time, num_speakers, generator=torch.Generator().manual_seed(seed))
        self.weights = torch.nn.Parameter(torch.linalg.qr(draws).Q.T.contiguous())

    def forward(self, waveform):
        """Scores waveforms (batch, time)."""
        return waveform @ self.weights.T


def speech_like(batch, time, peak=0.5, seed=1):
    noise = torch.randn(batch, time, generator=torch.Generator().manual_seed(seed))
    return (peak / 3 * noise).clamp(-1, 1)


def problem(batch, time, num_speakers, targeted, peak=0.5):
    """A recognizer, waveforms and labels: the recognized speakers, or for targets the speakers after them."""
    recognizer, waveform = Linear(num_speakers, time), speech_like(batch, time, peak)
    predictions = recognizer(waveform).argmax(dim=1)
    return recognizer, waveform, (predictions + 1) % num_speakers if targeted else predictions


def smallest_norm(recognizer, waveform, labels, targeted, threshold=None):
    """Exact l2 norms of the smallest perturbations, (batch,), box ignored.

    Untargeted: the nearest hyperplane, margin / ||w_y - w_j||. Targeted: the least-distance problem of Lawson and
    Hanson (1974, ch. 23), solved by non-negative least squares.
    """
    weights = recognizer.weights.detach().double().numpy()
    offsets = np.zeros(len(weights))
    if threshold is not None:  # rejection is a speaker whose score is constant
        weights, offsets = np.vstack([weights, np.zeros_like(weights[0])]), np.append(offsets, threshold)
    scores = waveform.double().numpy() @ weights.T + offsets
    result = []
    for row, label in zip(scores, labels.tolist(), strict=True):
        others = [index for index in range(len(weights)) if index != label % len(weights)]
        lead, normals = row[label] - row[others], weights[label] - weights[others]
        if targeted:
            result.append(least_distance(normals, -lead))
        else:
            result.append(max(0.0, (lead / np.linalg.norm(normals, axis=1)).min()))
    return torch.tensor(result)


def least_distance(matrix, bounds):
    """The smallest ||x|| subject to matrix x >= bounds."""
    system = np.vstack([matrix.T, bounds])
    _, residual_norm = nnls(system, np.append(np.zeros(matrix.shape[1]), 1.0))
    return np.sqrt(1 / residual_norm**2 - 1)  # ||x||^2 = (1 - r^2) / r^2


def bisected_norm(attack, recognizer, waveform, labels, objective, targeted, high=10.0, steps=14):
    """The smallest l2 budget at which a budgeted attack succeeds, per example, to a factor of about 1.001."""
    low, high = torch.full((len(waveform),), 1e-4), torch.full((len(waveform),), high)
    for _ in range(steps):
        middle = (low * high).sqrt()
        adversarial = attack(
            recognizer, waveform, labels, epsilon=middle, norm="l2", objective=objective, targeted=targeted
        )
        hit = objective.succeeded(recognizer(adversarial), labels, targeted)
        low, high = torch.where(hit, low, middle), torch.where(hit, middle, high)
    return high
