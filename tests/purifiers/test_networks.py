import pytest
import torch

from voxcert.purifiers.conditioner import Conditioner
from voxcert.purifiers.networks import DiffWave, SpectralDiffWave, StepEmbedding

SMALL = {"channels": 8, "num_layers": 3, "dilation_cycle": 2, "step_dim": 16}


def conditioner(**settings):
    return Conditioner(**({"num_mels": 12, "dim": 8, "num_heads": 2} | settings))


def network(kind, conditional=False):
    """A small network whose output and condition are not zero, as they are at the start."""
    torch.manual_seed(0)
    net = kind(conditioner() if conditional else None, **SMALL).eval()
    for parameter in net.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    return net


def samples(batch=3, time=3000):
    return torch.randn(batch, time, generator=torch.Generator().manual_seed(1))


STEPS = torch.tensor([0.0, 3.5, 40.0])
KINDS = pytest.mark.parametrize("kind", [DiffWave, SpectralDiffWave])


@KINDS
@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("time", [1, 255, 256, 257, 3001])
def test_any_length(kind, conditional, time):
    net, x = network(kind, conditional), samples(2, time)
    out = net(x, STEPS[:2], net.condition(x))
    assert out.shape == x.shape
    assert torch.isfinite(out).all()
    assert out.any()


@KINDS
@pytest.mark.parametrize("conditional", [False, True])
def test_rows_do_not_depend_on_each_other(kind, conditional):
    net, x, text = network(kind, conditional), samples(), torch.randn(3, 768)
    together = net(x, STEPS, net.condition(x, text))
    alone = net(x[1:2], STEPS[1:2], net.condition(x[1:2], text[1:2]))
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)


@KINDS
def test_step_speech_and_text_matter(kind):
    net, x, text = network(kind, True), samples(1), torch.randn(1, 768)
    first = net(x, STEPS[:1], net.condition(x, text))
    assert not torch.allclose(first, net(x, STEPS[1:2], net.condition(x, text)))
    assert not torch.allclose(first, net(x, STEPS[:1], net.condition(-x.cumsum(1) / 9, text)))
    assert not torch.allclose(first, net(x, STEPS[:1], net.condition(x, -text)))
    assert not torch.allclose(first, net(x, STEPS[:1], net.condition(x)))


@KINDS
def test_starts_at_no_noise_and_without_the_condition(kind):
    torch.manual_seed(0)
    net, x = kind(conditioner(), **SMALL).eval(), samples(1)
    assert net(x, STEPS[:1], net.condition(x)).std() < 1e-6  # a constant at most
    torch.nn.init.normal_((net.noise_out if kind is DiffWave else net.mask_out).weight)
    texts = torch.randn(2, 1, 768)
    assert torch.equal(*(net(x, STEPS[:1], net.condition(x, text)) for text in texts))


@KINDS
def test_bfloat16(kind):
    net, x = network(kind, True), samples(2)
    with torch.autocast("cpu", torch.bfloat16):
        short = net(x, STEPS[:2], net.condition(x))
    whole = net(x, STEPS[:2], net.condition(x))
    assert (short - whole).norm() < 0.05 * whole.norm()


def test_the_papers_size():
    """By hand: 30 blocks of a step layer, a dilated and an output convolution; two layers of the step embedding."""
    block = (512 * 64 + 64) + (3 * 64 * 128 + 128) + (64 * 128 + 128)
    step = (128 * 512 + 512) + (512 * 512 + 512)
    ends = (64 + 64) + (64 * 64 + 64) + (64 + 1)
    net = DiffWave()
    assert sum(parameter.numel() for parameter in net.parameters()) == 30 * block + step + ends
    assert [part.dilated.dilation[0] for part in net.body.blocks] == [2**i for i in range(10)] * 3


def test_diffwave_sees_as_far_as_its_dilations():
    net = network(DiffWave)
    x = samples(1, 101).requires_grad_()
    net(x, STEPS[:1])[0, 50].backward()
    seen = x.grad[0].nonzero().flatten().tolist()
    assert (min(seen), max(seen)) == (50 - 4, 50 + 4)  # dilations 1, 2, 1


def test_fractional_steps_lie_between_whole_ones():
    embedding = StepEmbedding(16)
    embedding.layers = torch.nn.Identity()
    low, middle, high = embedding(torch.tensor([3.0, 3.25, 4.0], dtype=torch.float64))
    torch.testing.assert_close(middle, 0.75 * low + 0.25 * high)
    assert low[:2].tolist() == pytest.approx(torch.tensor([3.0, 3 * 10 ** (4 / 63)]).sin().tolist(), abs=1e-5)
    assert float(low[127]) == pytest.approx(float(torch.tensor(30000.0).cos()), abs=1e-2)
