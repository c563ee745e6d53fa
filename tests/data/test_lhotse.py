import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from voxcert.data import Kaldi, Lhotse, LibriSpeech


@pytest.fixture
def lhotse():
    """The library, or a skip that says how to get it."""
    return pytest.importorskip("lhotse", reason='needs lhotse: pip install "voxcert[lhotse]"')


@pytest.fixture
def prepared(lhotse, tmp_path, write_audio):
    """Recordings and supervisions as a recipe leaves them: one speaker in stretches of a file, two on a call."""
    speech = write_audio("audio/rec.wav", seconds=2.0)
    call = write_audio("audio/call.wav", samples=np.random.default_rng(0).normal(0, 0.1, (32_000, 2)))
    recordings = lhotse.RecordingSet.from_recordings([lhotse.Recording.from_file(path) for path in (speech, call)])
    stretches = [("u1", "rec", 0.0, 1.0, 0, "anna"), ("u2", "rec", 1.0, 1.0, 0, "anna")]
    stretches += [("u3", "call", 0.5, 1.0, 0, "ben"), ("u4", "call", 0.5, 1.0, 1, "carl")]
    supervisions = lhotse.SupervisionSet.from_segments(
        lhotse.SupervisionSegment(name, recording, start, length, channel, text=name.upper(), speaker=speaker)
        for name, recording, start, length, channel, speaker in stretches
    )
    return recordings, supervisions


EXPECTED = [
    ("u1", "anna", 0.0, 1.0, None),
    ("u2", "anna", 1.0, 2.0, None),
    ("u3", "ben", 0.5, 1.5, 0),
    ("u4", "carl", 0.5, 1.5, 1),
]


def test_recordings_and_supervisions(prepared, tmp_path):
    recordings, supervisions = prepared
    recordings.to_file(tmp_path / "mini_recordings_train.jsonl.gz")
    supervisions.to_file(tmp_path / "mini_supervisions_train.jsonl.gz")
    found = Lhotse(str(tmp_path)).utterances()
    assert [(one.id, one.speaker, one.start, one.end, one.channel) for one in found] == EXPECTED
    assert {(one.part, one.text) for one in found} == {("train", name) for name in ("U1", "U2", "U3", "U4")}
    assert [len(one.load()) for one in found] == [16_000] * 4


@pytest.mark.parametrize("channel", [2, [0, 1]])
def test_a_channel_that_is_not_there_or_several_are_refused(lhotse, prepared, tmp_path, channel):
    """A call whose supervision has another channel is no average of its two sides."""
    recordings, supervisions = prepared
    supervisions["u4"].channel = channel
    recordings.to_file(tmp_path / "mini_recordings_train.jsonl.gz")
    supervisions.to_file(tmp_path / "mini_supervisions_train.jsonl.gz")
    survey = Lhotse(str(tmp_path)).survey()
    assert [one.id for one in survey.utterances] == ["u1", "u2", "u3"]
    (message,) = survey.refused
    assert message.endswith(f"u4: its channel must be one of [0, 1], got {channel}")


def test_the_only_channel_is_meant_by_any_number(lhotse, prepared, tmp_path):
    recordings, supervisions = prepared
    supervisions["u1"].channel = 1
    recordings.to_file(tmp_path / "mini_recordings_train.jsonl.gz")
    supervisions.to_file(tmp_path / "mini_supervisions_train.jsonl.gz")
    assert [one.channel for one in Lhotse(str(tmp_path)).utterances()] == [None, None, 0, 1]


def test_cuts_hold_the_same_audio(lhotse, prepared, tmp_path):
    cuts = lhotse.CutSet.from_manifests(*prepared).trim_to_supervisions(keep_overlapping=False)
    cuts.to_file(tmp_path / "cuts.jsonl.gz")
    found = Lhotse(str(tmp_path / "cuts.jsonl.gz")).utterances()
    assert [(one.id, one.speaker, one.start, one.end, one.channel) for one in found] == EXPECTED
    expected = {cut.supervisions[0].id: cut.load_audio()[0] for cut in cuts}
    for one in found:
        assert np.abs(one.load().numpy() - expected[one.id]).max() < 1e-6


def test_kaldi_directories_are_read_as_lhotse_reads_them(lhotse, prepared, tmp_path):
    recordings, supervisions = prepared
    own = supervisions.filter(_of_rec)
    lhotse.kaldi.export_to_kaldi(recordings.filter(_is_rec), own, output_dir=tmp_path / "kaldi")
    _, expected, _ = lhotse.kaldi.load_kaldi_data_dir(tmp_path / "kaldi", sampling_rate=16_000)
    found = Kaldi(str(tmp_path / "kaldi")).utterances()
    assert [(one.id, one.speaker, one.start, one.end, one.text) for one in found] == [
        (one.id, one.speaker, one.start, one.end, one.text) for one in sorted(expected, key=_id)
    ]


def test_a_recipe_of_lhotse_on_real_speech(lhotse, librispeech, tmp_path):
    from lhotse.recipes import prepare_librispeech

    (tmp_path / "LibriSpeech").symlink_to(Path(librispeech).absolute())
    prepare_librispeech(tmp_path / "LibriSpeech", dataset_parts=["test-other"], output_dir=tmp_path / "manifests")
    found = Lhotse(str(tmp_path / "manifests")).utterances()
    expected = LibriSpeech(librispeech, ["test-other"]).utterances()
    assert [(one.speaker, one.text, one.part) for one in found] == [
        (one.speaker, one.text, one.part) for one in expected
    ]
    assert all(torch.equal(one.load(), other.load()) for one, other in zip(found[::10], expected[::10], strict=True))


def test_what_is_no_stretch_of_a_file_is_refused(lhotse, prepared, tmp_path):
    cuts = lhotse.CutSet.from_manifests(*prepared)
    changed = {
        "transforms": cuts.perturb_speed(1.1),
        "one recording, got a MixedCut": cuts.mix(cuts, duration=3.0, snr=10),
        "must have a supervision": cuts.map(_unsupervised),
        "a supervision must name its speaker": cuts.map_supervisions(_nobody),
    }
    for number, (reason, own) in enumerate(changed.items()):
        path = tmp_path / f"cuts{number}.jsonl.gz"
        own.to_file(path)
        with pytest.raises(ValueError, match=reason):
            Lhotse(str(path)).utterances()


def test_what_lhotse_cannot_read_is_named(lhotse, tmp_path):
    (tmp_path / "cuts.jsonl").write_text("no json")
    with pytest.raises(ValueError, match="cuts.jsonl: must be a manifest that lhotse can read"):
        Lhotse(str(tmp_path / "cuts.jsonl")).utterances()
    with pytest.raises(ValueError, match="path must hold NAME_recordings_PART"):
        Lhotse(str(tmp_path)).utterances()
    with pytest.raises(ValueError, match="path must be a manifest of lhotse, or a folder"):
        Lhotse(str(tmp_path / "none")).utterances()


def test_the_extra_is_named_where_it_is_missing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "lhotse", None)
    for kind in (ImportError, ValueError):
        with pytest.raises(kind, match=r'pip install "voxcert\[lhotse\]"'):
            Lhotse(str(tmp_path)).utterances()


def _unsupervised(cut):
    return cut.drop_supervisions()


def _nobody(supervision):
    supervision.speaker = None
    return supervision


def _of_rec(supervision):
    return supervision.recording_id == "rec"


def _is_rec(recording):
    return recording.id == "rec"


def _id(one):
    return one.id
