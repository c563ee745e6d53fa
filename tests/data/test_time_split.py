import pytest

from voxcert.data import Corpus, TimeSplit, Utterance


class Fixed(Corpus):
    def __init__(self, utterances):
        self.found = utterances

    def scan(self):
        """What it was given."""
        return self.found


def test_cuts_at_the_share_and_keeps_the_speaker():
    corpus = Fixed([Utterance("a", "a.wav", "ann", start=1.0, end=11.0, text="words", part="train")])
    early, late = TimeSplit(corpus, late=0.2).utterances()
    assert (early.id, early.start, early.end, early.part) == ("a@early", 1.0, 9.0, "early")
    assert (late.id, late.start, late.end, late.part) == ("a@late", 9.0, 11.0, "late")
    assert {one.speaker for one in (early, late)} == {"ann"}
    assert early.text == late.text == ""  # nobody knows which words are in which part


def test_no_sample_is_in_both_and_none_is_lost(espeak):
    whole = espeak.utterances()[0].load()
    early, late = (one.load() for one in TimeSplit(espeak).utterances()[:2])
    assert len(early) + len(late) == len(whole)
    assert len(late) / len(whole) == pytest.approx(0.2, abs=0.01)


def test_the_first_speakers_by_name():
    corpus = Fixed([Utterance(name, f"{name}.wav", name, end=1.0) for name in "cab"])
    assert {one.speaker for one in TimeSplit(corpus, num_speakers=2).utterances()} == {"a", "b"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"late": 0.0}, r"late must be a share in \(0, 1\), got 0.0"),
        ({"late": 1.0}, r"late must be a share in \(0, 1\), got 1.0"),
        ({"num_speakers": 0}, "num_speakers must be at least 1 or null, got 0"),
    ],
)
def test_bad_values(settings, message):
    with pytest.raises(ValueError, match=message):
        TimeSplit(Fixed([]), **settings)
