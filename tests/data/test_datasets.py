import numpy as np
import pytest
import torch

from voxcert.data import AudioError, Utterance, crop
from voxcert.data.datasets import NamedCrops, TrainingCrops, readable


@pytest.fixture
def utterances(write_audio):
    """Two utterances of anna and one of ben, a second each."""
    return [
        Utterance(name, write_audio(f"{name}.wav", seconds=1.0), speaker, text=f"i am {name}")
        for name, speaker in (("a", "anna"), ("bb", "anna"), ("ccc", "ben"))
    ]


@pytest.fixture
def with_bad(utterances, tmp_path):
    """The same, anna's second file being corrupt."""
    (tmp_path / "bb.wav").write_bytes(b"RIFF and nothing")
    return utterances


def test_every_speed_is_a_class_of_its_own(utterances):
    dataset = TrainingCrops(utterances, 4000, [1.0, 0.9, 1.1], crops_per_utterance=2)
    assert len(dataset) == 18
    labels = [dataset[i]["label"].item() for i in range(18)]
    assert labels == [0, 2, 4] * 4 + [1, 3, 5] * 2
    assert [dataset[i]["text"] for i in (0, 6, 17)] == ["i am a", "i am bb", "i am ccc"]
    assert {dataset[i]["waveform"].shape for i in range(18)} == {(4000,)}


@pytest.mark.parametrize(("factor", "heard"), [(0.9, 900), (1.1, 1100), (1.0, 1000), (2.0, 2000)])
def test_speed_moves_the_pitch(write_audio, factor, heard):
    tone = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(64_000) / 16_000)
    both = [Utterance(name, write_audio("tone.wav", samples=tone), name) for name in ("x", "y")]
    waveform = TrainingCrops(both, 16_000, [factor])[0]["waveform"]
    assert waveform.shape == (16_000,)
    assert torch.fft.rfft(waveform).abs().argmax().item() == heard


def test_crops_follow_the_random_state(utterances):
    dataset = TrainingCrops(utterances, 2000)
    torch.manual_seed(1)
    first, other = dataset[0]["waveform"], dataset[0]["waveform"]
    torch.manual_seed(1)
    assert torch.equal(dataset[0]["waveform"], first)
    assert not torch.equal(first, other)


def test_short_utterances_are_repeated(utterances):
    torch.manual_seed(0)
    waveform = TrainingCrops(utterances, 20_000)[0]["waveform"]
    assert torch.equal(waveform[:4000], waveform[16_000:])


def test_cached_waveforms_are_the_same(utterances, tmp_path):
    torch.manual_seed(1)
    expected = TrainingCrops(utterances, 2000)[2]["waveform"]
    dataset = TrainingCrops(utterances, 2000, cache=True)
    for path in tmp_path.glob("*.wav"):
        path.unlink()
    torch.manual_seed(1)
    assert torch.equal(dataset[2]["waveform"], expected)


def test_a_bad_training_file_is_an_error(with_bad):
    with pytest.raises(AudioError, match="bb.wav: not readable"):
        TrainingCrops(with_bad, 2000)[1]
    with pytest.raises(AudioError, match="bb.wav: not readable"):
        TrainingCrops(with_bad, 2000, cache=True)


@pytest.mark.parametrize("cache", [False, True])
def test_a_bad_training_file_may_be_replaced_by_another_of_its_speaker(with_bad, cache):
    with pytest.warns(UserWarning, match="left out of training: .*bb.wav: not readable"):
        replaced = TrainingCrops(with_bad, 2000, cache=cache, skip_bad=True)[1]
    assert (replaced["label"], replaced["text"]) == (0, "i am a")
    with (
        pytest.warns(UserWarning, match="bb.wav"),
        pytest.raises(AudioError, match="training speakers must have readable audio, 'anna' has none; .*data check"),
    ):
        TrainingCrops(with_bad[1:], 2000, cache=cache, skip_bad=True)[0]


def test_named_crops(utterances):
    item = NamedCrops(utterances, 4000)[2]
    assert (item["utterance"], item["speaker"], item["text"]) == ("ccc", "ben", "i am ccc")
    assert torch.equal(item["waveform"], crop(utterances[2].load(), 4000))


def test_a_bad_named_file_is_an_error_or_a_reason(with_bad):
    with pytest.raises(AudioError, match="bb.wav"):
        NamedCrops(with_bad, 4000)[1]
    item = NamedCrops(with_bad, 4000, report_bad=True)[1]
    assert set(item) == {"utterance", "speaker", "text", "error"}
    assert "bb.wav: not readable" in item["error"]


def test_readable_lists_the_others_once(with_bad, tmp_path):
    (tmp_path / "a.wav").unlink()
    with pytest.warns(UserWarning, match=r"2 utterances left out of the test:\n.*a.wav: missing.*\n.*bb.wav") as caught:
        assert [one.id for one in readable(with_bad, 4000, "the test")] == ["ccc"]
    assert len(caught) == 1


@pytest.fixture
def hollow(write_audio):
    """Ten seconds of noise with four seconds of digital silence in the middle."""
    samples = np.random.default_rng(0).normal(0, 0.1, 160_000)
    samples[48_000:112_000] = 0
    return Utterance("hollow", write_audio("hollow.wav", samples=samples), "anna")


def test_the_very_crop_is_checked(hollow):
    reason = "hollow.wav: the crop of 3 s that begins at 3.500 s: digitally silent"
    assert len(hollow.load()) == 160_000
    with pytest.raises(AudioError, match=reason):
        NamedCrops([hollow], 48_000)[0]
    assert reason in NamedCrops([hollow], 48_000, report_bad=True)[0]["error"]
    with pytest.warns(UserWarning, match=reason):
        assert readable([hollow], 48_000, "the test") == []
    assert NamedCrops([hollow], 80_000)[0]["waveform"].shape == (80_000,)


def test_a_constant_crop_is_no_speech(write_audio):
    samples = np.random.default_rng(0).normal(0, 0.1, 160_000)
    samples[48_000:112_000] = 0.25  # a microphone that was switched off
    one = Utterance("dc", write_audio("dc.wav", samples=samples), "anna")
    with pytest.raises(AudioError, match="digitally silent: every sample is 0.25"):
        NamedCrops([one], 48_000)[0]


def test_a_training_crop_is_never_silent(write_audio):
    samples = np.zeros(160_000)
    samples[70_000:70_050] = 0.1
    both = [Utterance(name, write_audio("click.wav", samples=samples), name) for name in ("x", "y")]
    torch.manual_seed(0)
    dataset = TrainingCrops(both, 8000)
    assert all(dataset[index % 2]["waveform"].abs().max() > 0 for index in range(50))
    assert dataset[0]["waveform"].shape == (8000,)
