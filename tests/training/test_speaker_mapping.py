import pytest
import torch
import torch.nn.functional as F

from voxcert.training.speaker_mapping import SpeakerMapping, fit_mapping


def pairs(num, seed):
    """d-vectors and a rotation of them, in another dimension."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(12, 8, generator=torch.Generator().manual_seed(0))).Q
    d_vectors = F.normalize(torch.randn(num, 12, generator=generator), dim=-1)
    return d_vectors, F.normalize(d_vectors @ basis, dim=-1)


def test_the_layers_are_those_of_the_paper():
    sizes = [tuple(layer.weight.shape) for layer in SpeakerMapping(2048, 256).layers if hasattr(layer, "weight")]
    assert sizes == [(1024, 2048), (512, 1024), (256, 512)]


def test_learns_what_it_is_shown_and_leaves_torch_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    mapping = fit_mapping(*pairs(500, 1), steps=150)
    assert torch.equal(torch.random.get_rng_state(), before)
    d_vectors, wanted = pairs(50, 2)  # others than it was shown
    with torch.no_grad():
        found = mapping(3 * d_vectors)
    assert torch.allclose(found.norm(dim=-1), torch.ones(50), atol=1e-5)
    assert (found * wanted).sum(dim=-1).mean() > 0.9
    untrained = SpeakerMapping(12, 8)(d_vectors)
    assert (untrained * wanted).sum(dim=-1).mean() < 0.5


@pytest.mark.parametrize(("rows", "others"), [((3, 4), (2, 4)), ((0, 4), (0, 4)), ((3,), (3, 4))])
def test_bad_shapes(rows, others):
    with pytest.raises(ValueError, match="must be matrices of as many rows"):
        fit_mapping(torch.zeros(rows), torch.zeros(others))
