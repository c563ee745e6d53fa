from collections import Counter
from pathlib import Path

import pytest

from voxcert.data import Manifest, Trial, Utterance, read_trials, verification_trials


def recordings(speaker, count):
    return [Utterance(f"{speaker}/{i}", Path(f"{speaker}/{i}.wav"), speaker) for i in range(count)]


def test_verification_trials():
    utterances = recordings("anna", 2) + recordings("stranger", 1)
    trials = verification_trials(["anna", "ben", "zoë"], utterances)
    assert trials[:3] == [Trial("anna", "anna/0", True), Trial("ben", "anna/0", False), Trial("zoë", "anna/0", False)]
    assert Counter(trial.target for trial in trials) == {True: 2, False: 7}
    balanced = verification_trials(["anna", "ben", "zoë"], utterances[:2], num_nontarget=1)
    assert Counter(trial.target for trial in balanced) == {True: 2, False: 2}
    assert set(balanced) < set(trials)


def test_read_trials(tmp_path):
    path = tmp_path / "veri_test.txt"
    path.write_text("1 id10270/x/00001.wav id10270/y/00008.wav\n0 id10270/x/00001.wav id10300/z/00006.wav\n")
    assert read_trials(path) == [
        Trial("id10270/x/00001", "id10270/y/00008", True),
        Trial("id10270/x/00001", "id10300/z/00006", False),
    ]
    path.write_text("1 a.wav b.wav\n2 a.wav c.wav\n")
    with pytest.raises(ValueError, match=r"veri_test.txt:2: a line must read '0\|1 ENROLMENT TEST', got '2 a"):
        read_trials(path)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1 utt.1.v2 b/utt.2", Trial("utt.1.v2", "b/utt.2", True)),
        ("\ufeff1 a.wav b.flac", Trial("a", "b", True)),
        ("a.wav b.wav target", Trial("a", "b", True)),
        ("1 2 nontarget", Trial("1", "2", False)),
        ("id1/x.y/0001.wav id2/z/0002.m4a nontarget", Trial("id1/x.y/0001", "id2/z/0002", False)),
        ("target a b", Trial("a", "b", True)),
    ],
)
def test_dots_marks_and_both_orders(tmp_path, line, expected):
    (tmp_path / "trials").write_text(line + "\n\n", encoding="utf-8")
    assert read_trials(tmp_path / "trials") == [expected]


def test_lists_match_a_manifest_with_and_without_endings(tmp_path, write_audio):
    write_audio("a.b/one.wav")
    write_audio("two.wav")
    (tmp_path / "list.csv").write_text("path,speaker,id\na.b/one.wav,anna,\ntwo.wav,ben,two.x\n")
    utterances = Manifest(str(tmp_path / "list.csv")).utterances()
    path = tmp_path / "trials.txt"
    path.write_text("1 a.b/one two.x\n0 a.b/one.wav two.x.wav\n1 anna a.b/one.flac\n")
    found = [(trial.enrolled, trial.utterance) for trial in read_trials(path, utterances)]
    assert found == [("a.b/one.wav", "two.x"), ("a.b/one.wav", "two.x"), ("anna", "a.b/one.wav")]
    path.write_text("1 a.b/one two.x\n0 a.b/three two.x\n")
    with pytest.raises(
        ValueError, match=r"trials.txt:2: a trial must name an utterance .* got 'a.b/three' \(0 match\)"
    ):
        read_trials(path, utterances)


def test_lists_in_another_encoding_are_named(tmp_path):
    (tmp_path / "trials.txt").write_bytes("1 a.wav b.wav\n1 jos\xe9.wav b.wav\n".encode("latin-1"))
    with pytest.raises(ValueError, match="trials.txt:2: a text file must be UTF-8, got the byte 0xe9"):
        read_trials(tmp_path / "trials.txt")
