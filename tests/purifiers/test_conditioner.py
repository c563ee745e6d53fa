import math

import pytest
import torch

from voxcert.purifiers.conditioner import Conditioner


def conditioner(**settings):
    torch.manual_seed(0)
    made = Conditioner(**({"num_mels": 12, "dim": 8, "num_heads": 2} | settings))
    torch.nn.init.normal_(made.no_text)
    return made


@pytest.mark.parametrize("num_mels", [12, None])
@pytest.mark.parametrize("time", [1, 256, 257, 5000])
def test_frames(num_mels, time):
    frames = conditioner(num_mels=num_mels).eval()(torch.randn(2, time))
    assert frames.shape == (2, 8, math.ceil(time / 256) + 1)
    assert torch.isfinite(frames).all()


def test_a_click_is_heard_in_its_frame():
    made = conditioner().eval()
    made.attention = Passing()
    click = torch.zeros(1, 256 * 20)
    click[0, 256 * 7] = 1
    change = (made(click) - made(torch.zeros_like(click)))[0].norm(dim=0)
    assert int(change.argmax()) == 7
    assert change[7 - 2 : 7 + 3].square().sum() > 0.999 * change.square().sum()  # within a window


class Passing(torch.nn.Module):
    def forward(self, frames, lengths):
        """Returns what it gets."""
        return frames, lengths


def test_rows_of_zeros_have_no_text():
    made, x, text = conditioner().eval(), torch.randn(2, 3000), torch.randn(2, 768)
    text[1] = 0
    known, nothing = made(x, text), made(x)
    assert not torch.allclose(known[0], nothing[0])
    assert torch.equal(known[1], nothing[1])
    text[1] = made.no_text.detach()
    assert torch.allclose(made(x, text)[1], nothing[1])


def test_text_is_hidden_in_training_alone():
    made, text = conditioner(text_dropout=1.0), torch.randn(2, 768)
    made.attention.eval()
    assert torch.equal(made.train()._known(text, 2), made.no_text.expand(2, -1))
    assert torch.equal(made.eval()._known(text, 2), text)
    half = conditioner(text_dropout=0.5).train()._known(text[:1].expand(2000, -1), 2000)
    assert float((half == text[0]).all(dim=1).float().mean()) == pytest.approx(0.5, abs=0.05)


def test_everything_gets_a_gradient():
    made, x = conditioner(), torch.randn(2, 3000, requires_grad=True)
    text = torch.randn(2, 768)
    text[1] = 0
    made.eval()(x, text).square().sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(parameter.grad.abs().sum() > 0 for parameter in made.parameters() if parameter.requires_grad)


def test_shares():
    with pytest.raises(ValueError, match=r"text_dropout must be in \[0, 1\], got 2"):
        conditioner(text_dropout=2)
