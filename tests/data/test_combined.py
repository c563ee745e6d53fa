import pytest

from voxcert.data import Combined, SpeakerDataModule, SpeakerFolders, Utterance
from voxcert.data.corpus import Corpus


@pytest.fixture
def corpora(tmp_path, write_audio):
    """Two corpora with speakers of the same names; the second has a file that is no audio."""
    for corpus in ("one", "two"):
        for speaker in ("ann", "bob"):
            for take in range(2):
                write_audio(f"{corpus}/{speaker}/{take}.wav")
    (tmp_path / "two" / "bob" / "broken.wma").write_bytes(b"nothing")
    return {name: SpeakerFolders(str(tmp_path / name)) for name in ("one", "two")}


def test_names_tell_the_corpora_apart(corpora):
    with pytest.warns(UserWarning, match="wma"):
        found = Combined(corpora).utterances()
    assert {one.speaker for one in found} == {"one/ann", "one/bob", "two/ann", "two/bob"}
    own = {one.id for one in corpora["one"].utterances()}
    assert {one.id for one in found if one.speaker.startswith("one/")} == {f"one/{name}" for name in own}
    assert len(found) == 8


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_parts_of_corpora_train_and_test(corpora):
    data = SpeakerDataModule(Combined(corpora), train_parts=["one"], test_parts=["two"], num_enroll=1)
    assert {one.speaker for one in data.tested("test")} == {"two/ann", "two/bob"}
    assert data.num_classes == 2


def test_speakers_are_named_as_in_a_corpus_alone(write_audio):
    class Named(Corpus):
        def scan(self):
            for number, speaker in enumerate(names):
                yield Utterance(str(number), write_audio(f"{number}.wav"), speaker)

    names = ["anna", " anna", "an\u200bna"]
    assert {one.speaker for one in Combined({"one": Named()}).utterances()} == {"one/anna"}
    names = ["anna", "", "  "]
    with pytest.raises(ValueError, match=r"1.wav: speaker must be a name, got '' \(and 1 more"):
        Combined({"one": Named()}).utterances()


@pytest.mark.parametrize("names", [[], [""], ["a/b"]])
def test_refuses(names, corpora):
    with pytest.raises(ValueError, match="corpora must be one or more with names without a slash"):
        Combined(dict.fromkeys(names, corpora["one"]))
