"""Verification of one tested speaker is refused, with flags that work."""

import re

import pytest

from voxcert.data import SpeakerDataModule, SpeakerFolders
from voxcert.data.claims import check_claims


@pytest.mark.parametrize("num_speakers", [3, 4, 6, 11])
def test_what_the_message_advises_works(write_audio, tmp_path, num_speakers):
    for speaker in range(num_speakers):
        write_audio(f"{speaker:02d}/a.wav")
        write_audio(f"{speaker:02d}/b.wav")
    corpus, auto = SpeakerFolders(str(tmp_path)), {"num_val_speakers": "auto", "num_test_speakers": "auto"}
    with pytest.raises(ValueError, match="2 or more tested speakers, for verification, got 1; to test every") as error:
        check_claims(SpeakerDataModule(corpus, **auto))
    advised = re.findall(r"--data[.](\w+) (\d+)", str(error.value))
    assert advised == [("num_val_speakers", "0"), ("num_test_speakers", str(num_speakers))]
    check_claims(SpeakerDataModule(corpus, **{name: int(value) for name, value in advised}))


def test_few_speakers_for_another_reason(write_audio, tmp_path):
    for name in ("anna/a.wav", "anna/b.wav", "ben/a.wav", "ben/b.wav"):
        write_audio(name)
    corpus = SpeakerFolders(str(tmp_path))
    with pytest.raises(ValueError, match="got 1; --data.max_test_utterances must then be 2 or more"):
        check_claims(SpeakerDataModule(corpus, num_test_speakers=2, max_test_utterances=1))
    check_claims(SpeakerDataModule(corpus, num_test_speakers=2, max_test_utterances=2))
