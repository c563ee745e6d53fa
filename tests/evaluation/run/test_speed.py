"""Precision and generated code: what they change, and what is refused."""

import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from voxcert.evaluation.run import speed
from voxcert.evaluation.run.speed import at_precision, compiled, faster, float32_products, in_precision, worth_compiling


class Linear(nn.Module):
    """A linear encoder."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(64, 8, bias=False)

    def forward(self, waveform):
        """(batch, 64) -> (batch, 8)."""
        return F.normalize(self.linear(waveform), dim=-1)


@pytest.fixture
def encoder():
    return Linear().eval()


@pytest.fixture
def batch():
    return torch.randn(4, 64, generator=torch.Generator().manual_seed(1))


def state():
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(
    ("precision", "expected"),
    [(32, ("highest", False)), ("tf32", ("high", True)), ("bf16", ("highest", False)), (16, ("highest", False))],
)
def test_float32_products_hold_for_a_while(precision, expected):
    before = state()
    with float32_products(precision):
        assert state() == expected
    assert state() == before


def test_threads_share_a_precision_and_wait_for_another():
    before, entered, done, seen = state(), threading.Event(), threading.Event(), []

    def other(precision):
        with float32_products(precision):
            seen.append(state()[0])
            entered.set()
            done.wait(60)

    same, another = (threading.Thread(target=other, args=(precision,)) for precision in ("tf32", 32))
    with float32_products("tf32"):
        same.start()
        assert entered.wait(60), "the same precision is shared"
        another.start()
        with (
            pytest.raises(ValueError, match="precision must be the same as around this call .*, got 32"),
            float32_products(32),
        ):
            raise AssertionError("never entered: the other thread could wait for this one")
    assert state()[0] == "high", "for the other thread uses it still"
    assert seen == ["high"]
    done.set()
    for thread in (same, another):
        thread.join(60)
    assert seen == ["high", "highest"]
    assert state() == before


def test_a_precision_inside_another_lasts_as_long_as_it():
    before = state()
    with float32_products("tf32"):
        with float32_products(32):
            assert state() == ("highest", False)
        assert state() == ("high", True)
    assert state() == before


@pytest.mark.parametrize(("precision", "dtype", "digits"), [("bf16", torch.bfloat16, 8), (16, torch.float16, 11)])
def test_half_precision_is_that_of_autocast(encoder, batch, precision, dtype, digits):
    seen = []
    encoder.linear.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    embedding = at_precision(encoder, precision)(batch)
    assert seen == [dtype]
    assert embedding.dtype == torch.float32
    with torch.no_grad():
        moved = float((embedding - encoder(batch)).norm(dim=1).max())
    assert 0 < moved < 8 * 2.0**-digits, "eight numbers, each of so many digits"
    assert in_precision("abc", precision) == f"abc in {precision}"


@pytest.mark.parametrize("precision", [32, "tf32"])
def test_float32_is_the_encoder_itself(encoder, precision):
    assert at_precision(encoder, precision) is encoder
    assert in_precision("abc", 32) == "abc"


def test_generated_code_serves_one_shape(encoder, batch, monkeypatch):
    shapes = []

    def generate(function, dynamic):
        return lambda waveform: shapes.append(tuple(waveform.shape)) or function(waveform)

    monkeypatch.setattr(torch, "compile", generate)
    generated = compiled(encoder, batch)
    for rows in (batch[:3], batch, batch.repeat(2, 1)):
        assert torch.equal(generated(rows), encoder(rows))
    assert shapes == [(4, 64), (4, 64)], "the probe, and the waveforms of that shape"


def test_wrong_code_is_refused(encoder, batch, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: lambda rows: function(rows.roll(1, dims=0)))
    with pytest.raises(ValueError, match=r"compile must be false .*\(within 0.0001\), got one that is off by"):
        compiled(encoder, batch)


def test_an_error_of_the_generator_is_a_message(encoder, batch, monkeypatch):
    def fail(function, dynamic):
        def call(waveform):
            raise torch._dynamo.exc.TorchDynamoException("no compiler is found\nand much more")

        return call

    monkeypatch.setattr(torch, "compile", fail)
    with pytest.raises(ValueError, match="compile must be false .* torch.compile: no compiler is found$"):
        compiled(encoder, batch)


def test_what_compiling_costs_counts(encoder, batch, monkeypatch):
    monkeypatch.setattr(speed, "_seconds", lambda encoder, batch: 2.0)
    assert worth_compiling(encoder, batch, 4 * 300)
    assert not worth_compiling(encoder, batch, 4 * 299)


def test_the_faster_one_is_taken(encoder, batch, monkeypatch):
    other, times = Linear(), {}
    monkeypatch.setattr(speed, "_seconds", lambda encoder, batch: times[encoder].pop())
    times.update({encoder: [3.0, 2.0, 9.0], other: [9.0, 1.5, 9.0]})
    assert faster(encoder, other, batch)
    times.update({encoder: [3.0, 2.0, 9.0], other: [9.0, 2.5, 3.0]})
    assert not faster(encoder, other, batch)
