import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from voxcert.smoothing import Certifier
from voxcert.smoothing.devices import device_name
from voxcert.smoothing.embedder import Embedder
from voxcert.smoothing.kept_embeddings import KeptEmbeddings
from voxcert.smoothing.sampler import ESTIMATE_START, NoisySampler

TIME = 5


class Counting(torch.nn.Module):
    """An encoder that counts the rows it was asked for."""

    def __init__(self):
        super().__init__()
        self.rows = 0

    def forward(self, waveform):
        """(batch, time) -> (batch, time)."""
        self.rows += len(waveform)
        return torch.nn.functional.normalize(waveform, dim=1)


def sampler(waveform=None, sigma=0.5, seed=0, utterance="u", grid=2.0**-20):
    return NoisySampler(torch.linspace(0.1, 0.5, TIME) if waveform is None else waveform, sigma, seed, utterance, grid)


def embedded(encoder, kept, start, stop, of=None, batch_size=4):
    batches = Embedder(encoder, TIME, batch_size, kept).embed(of or sampler(), start, stop)
    return torch.cat([batch.clone() for batch in batches])


def test_what_was_embedded_once_is_taken_from_the_folder(tmp_path):
    kept, encoder = KeptEmbeddings(tmp_path, "abc"), Counting()
    first = embedded(encoder, kept, 0, 12)
    assert encoder.rows == 12
    again = embedded(encoder, kept, 0, 12)
    assert encoder.rows == 12
    assert torch.equal(first, again)
    assert torch.equal(first, embedded(Counting(), None, 0, 12))


@pytest.mark.parametrize("seen", list(itertools.combinations([(0, 4), (2, 10), (4, 9), (12, 16), (30, 31)], 2)))
def test_any_pieces_that_are_there_are_used_and_the_rest_is_embedded(tmp_path, seen):
    kept, encoder = KeptEmbeddings(tmp_path, "abc"), Counting()
    for start, stop in seen:
        embedded(encoder, kept, start, stop)
    got = embedded(encoder, kept, 2, 20)
    torch.testing.assert_close(got, embedded(Counting(), None, 2, 20), rtol=0, atol=0)
    before = encoder.rows
    assert torch.equal(embedded(encoder, kept, 2, 20), got)
    assert encoder.rows == before
    assert kept.holds(sampler(), 2, 20)
    assert not kept.holds(sampler(), 2, 21)
    assert not kept.holds(sampler(), 1, 20) or (0, 4) in seen


@pytest.mark.parametrize(
    "other",
    [
        {"sigma": 0.25},
        {"seed": 1},
        {"utterance": "v"},
        {"grid": None},
        {"waveform": torch.linspace(0.1, 0.5, TIME) + 2.0**-20},
    ],
)
def test_other_noisy_copies_are_never_taken_for_these(tmp_path, other):
    kept = KeptEmbeddings(tmp_path, "abc")
    embedded(Counting(), kept, 0, 4)
    encoder = Counting().eval()
    embedded(encoder, kept, 0, 4, sampler(**other))
    assert encoder.rows == 4


def test_two_models_of_gpus_draw_other_noise_and_share_nothing(tmp_path, monkeypatch):
    """One that took the other's would compare them with copies of its own, and blame the encoder."""
    kept, noisy, identities = KeptEmbeddings(tmp_path, "abc"), sampler().batch(0, 4).clone(), set()
    for model in ("NVIDIA A100-SXM4-80GB", "NVIDIA H100 80GB HBM3"):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device, model=model: model)
        assert device_name(torch.device("cuda")) == model
        for module in ("sampler", "kept_embeddings"):
            monkeypatch.setattr(f"voxcert.smoothing.{module}.device_name", lambda device, model=model: model)
        assert not kept.holds(sampler(), 0, 4)
        counting = Counting()
        embedded(counting, kept, 0, 4)
        kept.through(counting)(noisy)
        assert counting.rows == 8
        identities.add(sampler().identity)
    assert len(identities) == 2
    assert device_name(torch.device("cpu")) == "cpu"


def test_another_encoder_has_embeddings_of_its_own(tmp_path):
    embedded(Counting(), KeptEmbeddings(tmp_path, "abc"), 0, 4)
    assert not KeptEmbeddings(tmp_path, "abd").holds(sampler(), 0, 4)
    with pytest.raises(ValueError, match="encoder_id must be the hash of the encoder"):
        KeptEmbeddings(tmp_path, "")


@pytest.mark.parametrize("content", [b"", b"noise" * 100])
def test_a_broken_file_is_named(tmp_path, content):
    kept = KeptEmbeddings(tmp_path, "abc")
    embedded(Counting(), kept, 0, 4)
    [path] = tmp_path.rglob("*.npy")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path.name} does not hold embeddings"):
        embedded(Counting(), kept, 0, 4)


def test_a_file_of_another_length_is_refused(tmp_path):
    kept = KeptEmbeddings(tmp_path, "abc")
    kept.write(sampler(), 0, torch.eye(TIME))
    [path] = tmp_path.rglob("*.npy")
    path.rename(path.with_name("0-4.npy"))
    with pytest.raises(ValueError, match="must hold 4 embeddings"):
        embedded(Counting(), kept, 0, 4)


def test_certificates_are_the_same_and_another_enrolment_embeds_nothing(tmp_path, monkeypatch):
    prototypes, waveform = torch.eye(TIME)[:3], torch.tensor([0.9, 0.1, 0.0, 0.2, 0.1])
    settings = {"sigma": 0.3, "num_select": 10, "num_estimate": 100, "batch_size": 8, "encoder_id": "abc"}
    plain = Certifier(Counting().eval(), prototypes, **settings).certify(waveform, "u")
    settings |= {"kept": KeptEmbeddings(tmp_path, "abc")}
    kept = Certifier(Counting().eval(), prototypes, **settings).certify(waveform, "u")
    assert [row.radius for row in kept] == [row.radius for row in plain]
    monkeypatch.setattr(KeptEmbeddings, "write", lambda *args: pytest.fail("something was embedded again"))
    other = Certifier(Counting().eval(), prototypes.flip(0), **settings).certify(waveform, "u")
    assert [row.prediction for row in other] == ["2"] * len(other)


def test_a_batch_is_embedded_once_and_once_more_to_compare(tmp_path):
    encoder, batch = Counting(), torch.eye(TIME)
    embed = KeptEmbeddings(tmp_path, "abc").through(encoder)
    assert torch.equal(embed(batch), embed(batch.clone()))
    assert torch.equal(embed(batch), batch)
    assert encoder.rows == 2 * TIME
    assert torch.equal(embed(batch.flip(0)), batch.flip(0))
    assert KeptEmbeddings(tmp_path, "abd").through(encoder)(batch).shape == batch.shape
    assert encoder.rows == 4 * TIME


def test_half_precision_comes_back_exactly(tmp_path):
    kept, rows = KeptEmbeddings(tmp_path, "abc"), torch.randn(4, TIME).bfloat16()
    kept.write(sampler(), 0, rows)
    [again] = kept.read(sampler(), 0, 4)
    assert torch.equal(again, rows.float())


def test_a_pickle_is_not_opened(tmp_path):
    kept = KeptEmbeddings(tmp_path, "abc")
    kept.write(sampler(), 0, torch.eye(4, TIME))
    [path] = tmp_path.rglob("*.npy")
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="does not hold embeddings"):
        list(kept.read(sampler(), 0, 4))


class Reusing(Counting):
    """An encoder that writes every batch into the same memory."""

    def forward(self, waveform):
        """(batch, time) -> (batch, time)."""
        if not hasattr(self, "memory"):
            self.memory = torch.empty_like(waveform)
        return self.memory.copy_(super().forward(waveform))


def test_memory_that_an_encoder_uses_again_is_copied(tmp_path):
    kept = KeptEmbeddings(tmp_path, "abc")
    embedded(Reusing(), kept, 0, 12)
    assert torch.equal(embedded(Counting(), kept, 0, 12), embedded(Counting(), None, 0, 12))


class Mirrored(Counting):
    """Another function under the same name, as of code that was edited."""

    def forward(self, waveform):
        """(batch, time) -> (batch, time)."""
        return super().forward(waveform.flip(1))


def test_embeddings_that_the_encoder_does_not_make_are_refused(tmp_path):
    kept = KeptEmbeddings(tmp_path, "abc")
    embedded(Counting(), kept, 0, 12)
    embedder = Embedder(Mirrored(), TIME, 4, KeptEmbeddings(tmp_path, "abc"))
    with pytest.raises(ValueError, match=r"must be a folder with what this encoder makes .* off by [01]\."):
        embedder.settle(sampler(), 4)
    Embedder(Counting(), TIME, 4, KeptEmbeddings(tmp_path, "abc")).settle(sampler(), 4)
    kept.through(Counting())(torch.eye(TIME))
    with pytest.raises(ValueError, match="must be a folder with what this encoder makes"):
        KeptEmbeddings(tmp_path, "abc").through(Mirrored())(torch.eye(TIME))


def test_every_recording_that_has_something_kept_is_compared(tmp_path):
    """Also where a run of the new code has kept others meanwhile, and so shares the folder."""
    kept = KeptEmbeddings(tmp_path, "abc")
    embedded(Counting(), kept, 0, 12, sampler(utterance="b"))
    embedded(Mirrored(), kept, 0, 12, sampler(utterance="a"))
    encoder = Mirrored()
    embedder = Embedder(encoder, TIME, 4, kept)
    embedder.settle(sampler(utterance="new"), 4)
    probed = encoder.rows
    for _ in range(2):
        embedder.settle(sampler(utterance="a"), 4)
    assert encoder.rows == probed + 2 * 4, "a batch, and nothing for a recording of which nothing is kept"
    with pytest.raises(ValueError, match="must be a folder with what this encoder makes"):
        embedder.settle(sampler(utterance="b"), 4)


@pytest.mark.parametrize("start", [3, ESTIMATE_START + 1])
def test_whatever_is_kept_of_a_recording_is_compared(tmp_path, start):
    kept = KeptEmbeddings(tmp_path, "abc")
    embedded(Counting(), kept, start, start + 2)
    kept.compare(Counting(), sampler(), 4)
    with pytest.raises(ValueError, match="must be a folder with what this encoder makes"):
        kept.compare(Mirrored(), sampler(), 4)


class Unusable(Counting):
    """An encoder whose embeddings are not finite where the sum of a waveform is below a limit."""

    def __init__(self, limit, value):
        super().__init__()
        self.limit, self.value = limit, value

    def forward(self, waveform):
        """(batch, time) -> (batch, time)."""
        return torch.where(waveform.sum(dim=1, keepdim=True) < self.limit, self.value, super().forward(waveform))


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_embeddings_that_are_not_finite_are_kept_and_compared_like_others(tmp_path, value):
    kept = KeptEmbeddings(tmp_path, "abc")
    first = embedded(Unusable(1.5, value), kept, 0, 12)
    assert 0 < first.isnan().any(dim=1).sum() < 12
    embedder = Embedder(Unusable(1.5, value), TIME, 12, kept)
    for _ in range(2):
        embedder.settle(sampler(), 12)
    torch.testing.assert_close(torch.cat(list(embedder.embed(sampler(), 0, 12))), first, equal_nan=True)
    for limit in (-torch.inf, torch.inf):
        with pytest.raises(ValueError, match="must be a folder with what this encoder makes"):
            kept.compare(Unusable(limit, value), sampler(), 12)


def test_enrolment_of_embeddings_that_are_not_finite_is_taken_too(tmp_path):
    for _ in range(2):
        embed = KeptEmbeddings(tmp_path, "abc").through(Unusable(torch.inf, torch.nan))
        assert embed(torch.eye(TIME)).isnan().all()


def keep_all(folder):
    kept = KeptEmbeddings(folder, "abc")
    for number in range(100):
        kept.write(sampler(utterance=str(number)), 0, torch.full((4, TIME), float(number)))


def test_all_may_write_the_same_at_the_same_time(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(keep_all, [tmp_path] * 4))
    for number in range(100):
        [rows] = KeptEmbeddings(tmp_path, "abc").read(sampler(utterance=str(number)), 0, 4)
        assert (rows == number).all()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".npy"]
