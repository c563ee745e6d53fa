import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from voxcert.smoothing import Certifier, embedder
from voxcert.smoothing.probe import PROBE_TOLERANCE, check_rows_are_independent

BATCH = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


class Network(nn.Module):
    """A linear layer with something behind it, then unit norm."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 4), last)
        nn.init.eye_(self.net[0].weight)

    def forward(self, waveform):
        """Embeddings (batch, 4)."""
        return normalize(self.net(waveform), dim=1)


def test_a_function_of_the_row_passes():
    assert check_rows_are_independent(Network(nn.BatchNorm1d(4)).eval(), BATCH)
    assert check_rows_are_independent(lambda w: normalize(w, dim=1), BATCH[:1])


def test_batch_statistics_are_refused_by_name():
    encoder = Network(nn.BatchNorm1d(4, track_running_stats=False)).eval()
    with pytest.raises(ValueError, match=r"^encoder must give .* got .*net\.1.*track_running_stats"):
        check_rows_are_independent(encoder, BATCH)


def place(waveform):
    return normalize(waveform + torch.arange(len(waveform))[:, None], dim=1)


def noisy(waveform):
    return normalize(waveform + 0.1 * torch.rand(waveform.shape), dim=1)


def centred(waveform):
    return normalize(waveform - 0.01 * waveform.mean(dim=0), dim=1)


@pytest.mark.parametrize(
    ("encoder", "way"), [(place, "the last place"), (noisy, "the same batch again"), (centred, "copies of itself")]
)
def test_whatever_else_depends_on_the_batch_is_refused(encoder, way):
    with pytest.raises(ValueError, match=f"^encoder must give a row .* {way}.* something in it"):
        check_rows_are_independent(encoder, BATCH)


def test_an_encoder_that_could_not_be_probed_is_probed_later():
    """The first waveform gives NaN, so that nothing can be compared; the second is refused all the same."""
    leaky = Network(nn.BatchNorm1d(4, track_running_stats=False, affine=False)).eval()
    encoder = lambda w: leaky(w) if w.abs().max() < 5 else w * torch.nan  # noqa: E731
    assert not check_rows_are_independent(encoder, BATCH + 10)
    certifier = Certifier(encoder, torch.eye(4), sigma=0.1, num_estimate=50, batch_size=50)
    assert {row.abstained for row in certifier.certify(torch.full((4,), 8.0))} == {"non-finite or zero embeddings"}
    with pytest.raises(ValueError, match="the same embedding in any batch"):
        certifier.certify(torch.zeros(4))


def test_rounding_is_tolerated():
    calls = iter(range(100))
    encoder = lambda w: normalize(w, dim=1) + 0.1 * PROBE_TOLERANCE * (next(calls) % 2)  # noqa: E731
    check_rows_are_independent(encoder, BATCH)


class Averaging(nn.Module):
    """Says of every row what is true of the mean of its batch, in which noise is small."""

    def forward(self, waveform):
        """Embeddings (batch, 4)."""
        return normalize(waveform.mean(dim=0, keepdim=True).expand_as(waveform), dim=1)


def test_what_leaks_is_certified_far_beyond_the_truth_without_the_probe(monkeypatch):
    """All copies of a batch agree, as if noise moved none of them; a small step moves all at once."""
    prototypes, waveform = torch.eye(4)[:1] * torch.tensor([[1.0], [-1.0]]), torch.tensor([0.05, 0.0, 0.0, 0.0])
    certifier = Certifier(Averaging().eval(), prototypes, sigma=0.1, batch_size=50, rules=["vote"])
    with pytest.raises(ValueError, match="the same embedding in any batch"):
        certifier.certify(waveform)
    monkeypatch.setattr(embedder, "check_rows_are_independent", lambda *args: True)
    [row] = certifier.certify(waveform)
    truth = 0.05  # beyond it the other one is named
    assert row.radius > 4 * truth
    [moved] = certifier.certify(waveform - 2 * truth * prototypes[0])
    assert moved.prediction != row.prediction
    assert moved.radius > 4 * truth
