"""Absolute paths end as their last part, and nothing else changes."""

import pytest

from voxcert.encoders.privacy import without_places


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("/home/anna/voices", "voices"),
        ("/home/anna/my voices/", "my voices"),
        ("C:\\Users\\anna\\voices", "voices"),
        ("~/voices/list.csv", "list.csv"),
        (
            "python train.py fit --config /home/anna/a.yaml --trainer.devices=2",
            "python train.py fit --config a.yaml --trainer.devices=2",
        ),
        ("--inputs '[/a/b.wav, /c/d.wav]' --x={root: /e/f}", "--inputs '[b.wav, d.wav]' --x={root: f}"),
        ("voxcert certify --checkpoint ~anna/mini", "voxcert certify --checkpoint mini"),
        ("/usr/bin/voxcert certify --config /a/b.yaml", "voxcert certify --config b.yaml"),
        ("/", "DIR"),
    ],
)
def test_places_are_left_out(text, public):
    assert without_places({"a": [text, (text,)]}) == {"a": [public, [public]]}


@pytest.mark.parametrize(
    "text",
    [
        "data/librispeech",
        "../data/voices",
        "./a/b",
        "voxcert.data.LibriSpeech",
        "https://www.openslr.org/12/",
        "hf:speechbrain/spkrec-ecapa-voxceleb",
        "python certify.py --checkpoint checkpoints/mini --rules [vote] --sigma 0.01",
        "CC BY 4.0 (Panayotov et al. 2015), and/or others",
        "1/2 of 3",
    ],
)
def test_what_is_no_absolute_path_stays(text):
    assert without_places([text, 0.5, None, True]) == [text, 0.5, None, True]
