import copy

import pytest
import torch
import torch.nn.functional as F

from voxcert.encoders.base import Recognizer, enroll


def test_shape_errors_are_named(tiny):
    with pytest.raises(ValueError, match=r"waveform must have shape \(batch, time\), got \(16000,\)"):
        tiny(torch.zeros(16_000))


def test_config_records_every_argument_and_survives_copies(tiny):
    assert tiny.config["class_path"] == "voxcert.encoders.ECAPA"
    assert tiny.config["init_args"]["channels"] == 16
    assert tiny.config["init_args"]["hop_ms"] == 10
    assert copy.deepcopy(tiny).config == tiny.config


def linear_encoder(waveform):
    return F.normalize(waveform[:, :2], dim=-1)


def test_prototypes_are_normalised_means():
    batches = [
        {"waveform": torch.tensor([[1.0, 0.0], [0.0, 1.0]]), "speaker": ["b", "a"]},
        {"waveform": torch.tensor([[0.0, 1.0]]), "speaker": ["b"]},
    ]
    recognizer = enroll(linear_encoder, batches)
    assert recognizer.speakers == ["a", "b"]
    torch.testing.assert_close(recognizer.prototypes, torch.tensor([[0.0, 1.0], [0.5**0.5, 0.5**0.5]]))
    torch.testing.assert_close(recognizer(torch.tensor([[0.0, 2.0]])), torch.tensor([[1.0, 0.5**0.5]]))


def test_enrolment_under_noise_is_seeded_and_near_the_smoothed_embedding():
    batches = [{"waveform": torch.tensor([[1.0, 0.0], [0.0, 1.0]]), "speaker": ["a", "b"]}]
    first = enroll(linear_encoder, batches, sigma=0.5, num_noise=4000, seed=1)
    again = enroll(linear_encoder, batches, sigma=0.5, num_noise=4000, seed=1)
    other = enroll(linear_encoder, batches, sigma=0.5, num_noise=4000, seed=2)
    assert torch.equal(first.prototypes, again.prototypes)
    assert not torch.equal(first.prototypes, other.prototypes)
    # By symmetry the smoothed embedding of an axis points along it.
    torch.testing.assert_close(first.prototypes, torch.eye(2), atol=0.03, rtol=0)


def test_without_draws_of_noise_speech_is_clean():
    batches = [{"waveform": torch.tensor([[1.0, 0.0], [0.0, 1.0]]), "speaker": ["a", "b"]}]
    assert torch.equal(enroll(linear_encoder, batches, sigma=0.5, num_noise=0).prototypes, torch.eye(2))


def test_one_speaker_is_refused():
    with pytest.raises(ValueError, match="at least 2 speakers, got 1"):
        enroll(linear_encoder, [{"waveform": torch.ones(1, 2), "speaker": ["a"]}])


def test_a_speaker_without_direction_is_named():
    batches = [{"waveform": torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]), "speaker": ["a", "a", "b"]}]
    with pytest.raises(ValueError, match="speaker 'a' cannot be enrolled"):
        enroll(linear_encoder, batches)
    batches[0]["waveform"][0] = float("nan")
    with pytest.raises(ValueError, match="speaker 'a' cannot be enrolled"):
        enroll(linear_encoder, batches)


def test_scores_under_autocast_are_told_apart_near_one():
    """Cosines 1 and 0.9999: bf16 rounds both to 1, and the answer would be the first name."""
    angle = torch.tensor(2e-4).sqrt()
    prototypes = torch.stack([torch.stack([angle.cos(), angle.sin()]), torch.tensor([1.0, 0.0])])
    recognizer = Recognizer(torch.nn.Identity(), prototypes, ["near", "own"])
    with torch.autocast("cpu", torch.bfloat16):
        scores = recognizer(torch.tensor([[1.0, 0.0]]))
        half = recognizer(torch.tensor([[1.0, 0.0]], dtype=torch.bfloat16))  # what an encoder of one's own may give
    torch.testing.assert_close(scores, torch.tensor([[0.9999, 1.0]]), atol=1e-6, rtol=0)
    assert torch.equal(half, scores)


def test_recognizer_needs_a_name_for_each_prototype():
    with pytest.raises(ValueError, match="each of the 2 prototypes, got 1"):
        Recognizer(torch.nn.Identity(), torch.eye(2), ["a"])


ROWS = torch.tensor([[1.0, 0.0], [0.0, 1.0]])


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"waveform": ROWS.numpy(), "speaker": ["a", "b"]}, "waveform must be a float32 tensor .* got numpy.ndarray"),
        ({"waveform": ROWS.double(), "speaker": ["a", "b"]}, "got torch.float64: waveform.float"),
        ({"waveform": ROWS.short(), "speaker": ["a", "b"]}, "got torch.int16"),
        ({"waveform": ROWS[0], "speaker": ["a"]}, r"must have shape \(batch, time\), got \(2,\)"),
        ({"waveform": ROWS[:, :0], "speaker": ["a", "b"]}, "at least one row and one sample"),
        ({"waveform": ROWS, "speaker": "ab"}, "speaker must be a list of 2 names, one for each waveform, got 'ab'"),
        ({"waveform": ROWS, "speaker": ["a"]}, r"speaker must be a list of 2 names, .* got \['a'\]"),
        ({"waveform": ROWS, "speaker": 3}, "speaker must be a list of 2 names, .* got 3"),
        ({"waveform": ROWS, "speaker": [0, 1]}, r"speaker must be a list of 2 names, .* got \[0, 1\]"),
        ({"waveform": ROWS}, "batches must be a list of .*, got dict"),
        ("waveform", "batches must be a list of .*, got str"),
        ({"waveform": ROWS / 0, "speaker": ["a", "b"]}, "speaker 'a' cannot be enrolled: its waveform has NaN or inf"),
    ],
)
def test_what_is_no_enrolment_is_refused(batch, message):
    with pytest.raises(ValueError, match=message):
        enroll(linear_encoder, [batch])
    with pytest.raises(ValueError, match=message):
        enroll(linear_encoder, iter([batch]), sigma=0.1, num_noise=2)


@pytest.mark.parametrize("prototypes", [torch.eye(2).numpy(), [[1.0, 0.0], [0.0, 1.0]], torch.ones(2)])
def test_prototypes_are_a_matrix(prototypes):
    with pytest.raises(ValueError, match=r"prototypes must be a tensor \(speakers, dim\), got"):
        Recognizer(torch.nn.Identity(), prototypes, ["a", "b"])
