"""From the d-vectors of one network to the embeddings of another, such as the one a speech synthesiser was built on.

Pizzi et al. 2023 (arXiv 2301.03206, sec. 4.3): a perceptron of 2048, 1024, 512 and 256 units, tanh behind the hidden
layers, learnt from recordings that both networks embed.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import trange


class SpeakerMapping(nn.Module):
    """Unit d-vectors (batch, dim) -> unit embeddings of another encoder (batch, target_dim).

    Args:
        dim: Size of the d-vectors; 2048 in the paper.
        target_dim: Size of the embeddings; 256 in the paper.
    """

    def __init__(self, dim: int, target_dim: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(dim, 1024), nn.Tanh(), nn.Linear(1024, 512), nn.Tanh(), nn.Linear(512, target_dim)
        )

    def forward(self, d_vectors: Tensor) -> Tensor:
        """Maps d-vectors (batch, dim) of any norm to unit vectors (batch, target_dim)."""
        return F.normalize(self.layers(F.normalize(d_vectors, dim=-1)), dim=-1)


def fit_mapping(
    d_vectors: Tensor, embeddings: Tensor, steps: int = 1000, batch_size: int = 128, lr: float = 1e-3, seed: int = 0
) -> SpeakerMapping:
    """Learns a mapping from pairs, by the cosine to the embedding (Adam).

    Args:
        d_vectors: One for each recording, (recordings, dim).
        embeddings: Of the same recordings, (recordings, target_dim).
        steps: Optimiser steps.
        batch_size: Recordings in a step, drawn with replacement.
        lr: Learning rate.
        seed: Of weights and draws.

    Returns:
        The mapping, in eval mode.

    Raises:
        ValueError: If the two are not matrices of as many rows, at least one.
    """
    if d_vectors.ndim != 2 or embeddings.ndim != 2 or not 0 < len(d_vectors) == len(embeddings):
        shapes = f"{tuple(d_vectors.shape)} and {tuple(embeddings.shape)}"
        raise ValueError(f"d_vectors and embeddings must be matrices of as many rows, at least one, got {shapes}")
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        mapping = SpeakerMapping(d_vectors.shape[1], embeddings.shape[1]).to(d_vectors.device)
    optimizer = torch.optim.Adam(mapping.parameters(), lr)
    wanted = F.normalize(embeddings, dim=-1)
    for _ in trange(steps, desc="mapping", unit="step", leave=False):
        rows = torch.randint(len(d_vectors), (batch_size,), generator=generator).to(d_vectors.device)
        loss = 1 - (mapping(d_vectors[rows]) * wanted[rows]).sum(dim=-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return mapping.eval()
