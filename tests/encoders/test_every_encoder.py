"""What every encoder promises, for each file in configs/encoder as it is: full size, random weights."""

from pathlib import Path

import pytest
import torch
import yaml

from voxcert.encoders.checkpoint import build_encoder
from voxcert.encoders.ge2e import GE2E

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "encoder").glob("*.yaml"))
TIME = 12_000  # samples; every network has frames enough to pool


@pytest.fixture(scope="module", params=CONFIGS, ids=lambda path: path.stem)
def encoder(request):
    torch.manual_seed(0)
    config = yaml.safe_load(request.param.read_text())
    if "pyannote" in config["class_path"]:
        pytest.importorskip("pyannote.audio")
    return build_encoder(config).eval()


@pytest.fixture(scope="module")
def waveform():
    """Three bursts of noise of different loudness, the last one with silence at its end."""
    generator = torch.Generator().manual_seed(0)
    waveform = torch.tensor([[0.3], [0.03], [0.1]]) * torch.randn(3, TIME, generator=generator)
    waveform[2, TIME // 2 :] *= 1e-3
    return waveform


@pytest.fixture(scope="module")
def embedding(encoder, waveform):
    with torch.inference_mode():
        return encoder(waveform)


def test_embeddings_are_unit_vectors(encoder, embedding):
    assert embedding.shape == (3, encoder.dim)
    assert embedding.dtype == torch.float32
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(3), atol=1e-5, rtol=0)


def test_a_batch_row_is_the_single_call(encoder, waveform, embedding):
    with torch.inference_mode():
        single = torch.cat([encoder(row[None]) for row in waveform])
    torch.testing.assert_close(single, embedding, atol=1e-5, rtol=0)


def test_gradients_reach_the_waveform(encoder, waveform):
    waveform = waveform[:2].clone().requires_grad_()
    direction = torch.randn(encoder.dim, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((encoder(waveform) @ direction).sum(), waveform)
    assert torch.isfinite(gradient).all()
    assert (gradient != 0).any(dim=1).all()


def test_autocast_changes_little(encoder, waveform, embedding):
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        low = encoder(waveform)
    assert low.dtype == torch.float32
    assert (low * embedding).sum(dim=1).min() > 0.99


WRONG = {
    "numpy": (lambda waveform: waveform.numpy(), r"must be a float32 tensor .*, got numpy.ndarray: torch.from_numpy"),
    "a list": (lambda waveform: waveform.tolist(), r"must be a float32 tensor .*, got builtins.list"),
    "one waveform": (
        lambda waveform: waveform[0],
        r"shape \(batch, time\), got \(12000,\): waveform\[None\] is a batch",
    ),
    "channels": (lambda waveform: waveform[None], r"must have shape \(batch, time\), got \(1, 3, 12000\)"),
    "float64": (lambda waveform: waveform.double(), r"must be float32, got torch.float64: waveform.float"),
    "int16": (lambda waveform: (32767 * waveform).short(), r"float32 tensor .*, got torch.int16 \(16-bit numbers"),
    "no rows": (lambda waveform: waveform[:0], r"at least one row and one sample, got shape \(0, 12000\)"),
    "no samples": (lambda waveform: waveform[:, :0], r"at least one row and one sample, got shape \(3, 0\)"),
    "one sample": (
        lambda waveform: waveform[:, :1],
        r"must have (at least|more than) \d+ (samples|frames)|at least 2 frames",
    ),
    "less than a frame": (
        lambda waveform: waveform[:, :250],
        r"(at least|more than) \d+ (samples|frames)|at least 2 frames",
    ),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_no_batch_of_waveforms_is_refused(encoder, waveform, change, message):
    with pytest.raises(ValueError, match=message), torch.inference_mode():
        encoder(change(waveform))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")  # inside transformers
def test_compiles_to_one_graph_with_the_same_result(encoder, waveform, embedding):
    """Captured whole and run as captured; `test_generated_code.py` generates code, of smaller networks."""
    torch._dynamo.reset()
    whole = not isinstance(encoder, GE2E)  # no recurrent network of torch can be captured: it runs as it is
    with torch.no_grad():
        compiled = torch.compile(encoder, backend="eager", fullgraph=whole)(waveform)
    torch.testing.assert_close(compiled, embedding, atol=1e-5, rtol=0)
