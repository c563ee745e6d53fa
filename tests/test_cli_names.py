"""Names, paths and encodings that no disk and no reader expects: every command has a message or a row, no traceback."""

import csv

import pytest
import soundfile
import torch
import yaml

from voxcert.cli import main
from voxcert.cli.errors import messages_for_errors
from voxcert.encoders.checkpoint import save_checkpoint
from voxcert.encoders.sincnet import SincNet
from voxcert.evaluation.attack.row import AttackRow
from voxcert.evaluation.certification.folder import read_run
from voxcert.evaluation.defence.row import DefenceRow
from voxcert.evaluation.inversion.row import InversionRow
from voxcert.rows import read_rows

PGD = {"class_path": "voxcert.attacks.pgd", "init_args": {"epsilon": 0.01, "steps": 1}}
LONG = {"Chinese": "語" * 300, "dollars": "$x_{" * 70, "slashes": "a/../b" * 60}
PATH = "x" * 5000


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Three voices with two recordings each, of 0.75 s."""
    folder = tmp_path_factory.mktemp("recordings")
    generator, seconds = torch.Generator().manual_seed(0), torch.arange(12_000) / 16_000
    for number in range(3):
        tone = sum(torch.sin(2 * torch.pi * (90 + 60 * number) * k * seconds) / k for k in range(1, 20))
        for take in range(2):
            waveform = 0.05 * tone + 0.005 * torch.randn(12_000, generator=generator)
            soundfile.write(folder / f"{number}-{take}.wav", waveform.numpy(), 16_000)
    return folder


@pytest.fixture(params=LONG.values(), ids=LONG.keys())
def manifest(request, recordings, tmp_path):
    """Speakers and utterances with very long names; those of two differ in their last letter."""
    path = tmp_path / "long.csv"
    with path.open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "speaker", "id"])
        for one in sorted(recordings.iterdir()):
            number = one.stem[0]
            writer.writerow([one, f"{request.param}{number}", f"{request.param}{one.stem}"])
    return {"class_path": "voxcert.data.Manifest", "init_args": {"path": str(path)}}


def run(tmp_path, *command, **settings):
    """Runs a command with these settings as a YAML file; returns its folder."""
    path, folder = tmp_path / "config.yaml", tmp_path / "run"
    path.write_text(yaml.safe_dump(settings | {"accelerator": "cpu", "output_dir": str(folder)}))
    main([*command, "--config", str(path)])
    return folder


def data(manifest):
    return {"corpus": manifest, "num_test_speakers": 3, "num_enroll": 1, "crop_seconds": 0.2}


def ids(manifest):
    with open(manifest["init_args"]["path"]) as file:
        return {row["id"] for row in csv.DictReader(file)}


def kept(folder):
    """The files of a run with what they are called; none is a hidden draft."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not any("draft" in path.name or path.name.endswith(".tmp") for path in files)
    return files


@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")
def test_attacks_keep_and_draw_long_names(checkpoint, manifest, tmp_path):
    folder = run(tmp_path, "attack", checkpoint=str(checkpoint), attack=PGD, data=data(manifest), keep="wav", plot=2)
    rows = read_rows(folder / "rows.jsonl", AttackRow)
    assert len({row.utterance for row in rows}) == 3
    assert {row.utterance for row in rows} <= ids(manifest)
    endings = [path.suffix for path in kept(folder)]
    assert (endings.count(".wav"), len(list((folder / "pictures").iterdir()))) == (3, 2)


def test_defences_keep_long_names(checkpoint, manifest, tmp_path):
    noise = {"name": "noise", "purifier": {"class_path": "voxcert.purifiers.AddNoise", "init_args": {"sigma": 0.01}}}
    settings = {"checkpoint": str(checkpoint), "defences": [noise], "attacks": {"PGD": PGD}, "num_draws": 1}
    folder = run(tmp_path, "defend", **settings, data=data(manifest))
    rows = read_rows(folder / "rows.jsonl", DefenceRow)
    assert {row.failed for row in rows} == {None}
    assert {row.utterance for row in rows} <= ids(manifest)
    trials = {(row.utterance, row.claim) for row in rows}
    assert len([path for path in kept(folder) if path.suffix == ".flac"]) == len(trials)


def test_statistics_of_long_names_are_kept(checkpoint, manifest, tmp_path):
    settings = {"sigma": 0.01, "num_select": 2, "num_estimate": 4, "batch_size": 4, "rules": ["vote"]}
    folder = run(tmp_path, "certify", checkpoint=str(checkpoint), **settings, keep_statistics=True, data=data(manifest))
    assert {row.utterance for row in read_run(folder)} <= ids(manifest)
    assert len(list((folder / "statistics").iterdir())) == 3
    main(["recertify", str(folder), "--alpha", "0.01", "--output_dir", str(tmp_path / "again")])


@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")
def test_inversions_of_long_names(manifest, tmp_path):
    torch.manual_seed(0)
    save_checkpoint(SincNet(3, chunk_samples=640, num_filters=4, channels=4, dim=8), tmp_path / "network", {})
    corpus = {"class_path": "voxcert.data.TimeSplit", "init_args": {"corpus": manifest, "late": 0.4}}
    start = {"class_path": "voxcert.attacks.inversion.Noise", "init_args": {"color": "white"}}
    experiments = [{"name": "white", "method": "sliding", "start": start, "step_size": 0.1}]
    settings = {"checkpoint": str(tmp_path / "network"), "experiments": experiments, "steps": 2, "start_samples": 1920}
    folder = run(tmp_path, "invert", **settings, data={"corpus": corpus, "train_parts": ["early"]})
    speakers = {row.speaker for row in read_rows(folder / "rows.jsonl", InversionRow)}
    assert {speaker[-1] for speaker in speakers} == {"0", "1", "2"}
    assert len([path for path in kept(folder) if path.suffix == ".flac"]) == 3


@pytest.fixture
def message(tmp_path, monkeypatch, capsys):
    """Calls a command in an empty folder that must fail, and returns what it prints on stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*args):
        with pytest.raises(SystemExit) as stop:
            main([str(arg) for arg in args])
        assert stop.value.code == 2
        return capsys.readouterr().err

    return call


LATIN = "# für\nsigma: 0.01\n".encode("latin-1")
IN_LINE_1 = ":1: a text file must be UTF-8, got the byte 0xfc; convert it, for example: iconv -f ISO-8859-1"


@pytest.mark.parametrize(
    "args",
    [
        ["certify", "--config", "latin.yaml"],
        ["attack", "--config=latin.yaml"],
        ["certify", "--encoder", "latin.yaml"],
        ["certify", "--purifier", "latin.yaml"],
        ["certify", "--data", "latin.yaml"],
        ["train", "fit", "--config", "latin.yaml"],
        ["data", "check", "latin.csv"],
        ["data", "check", "latin.jsonl"],
    ],
    ids=" ".join,
)
def test_other_encodings_are_named(message, tmp_path, args):
    for name in ("latin.yaml", "latin.csv", "latin.jsonl"):
        (tmp_path / name).write_bytes(LATIN)
    assert IN_LINE_1 in message(*args)


def test_other_encodings_in_a_config_of_a_config_are_shown(message, tmp_path):
    (tmp_path / "latin.yaml").write_bytes(LATIN)
    (tmp_path / "wide.txt").write_bytes("sigma: 0.01\n".encode("utf-16"))
    (tmp_path / "outer.yaml").write_text("data: latin.yaml\n")
    for command in (["certify"], ["train", "fit"]):
        assert r"a config must be UTF-8, got one whose line 1 is # f\xfcr" in message(
            *command, "--config", "outer.yaml"
        )
    assert r"a config must be UTF-8, got one whose line 1 is \xff\xfes" in message("certify", "--config", "wide.txt")


@pytest.fixture
def transcript(recordings, tmp_path):
    """Transcript of a LibriSpeech of one chapter."""
    home = tmp_path / "LibriSpeech" / "train" / "1" / "2"
    home.mkdir(parents=True)
    (home / "1-2-0.wav").symlink_to(recordings / "0-0.wav")
    return home / "1-2.trans.txt"


@pytest.mark.parametrize("text", ["", "1-2-0", "1-2-0 \n", "\n\n1-2-1\n"])
def test_transcripts_without_words(transcript, tmp_path, text, capsys):
    transcript.write_text(text)
    main(["data", "check", str(tmp_path), "--corpus", "LibriSpeech"])
    assert "refused    0" in capsys.readouterr().out


def test_transcripts_in_other_encodings_are_named(transcript, tmp_path, capsys):
    transcript.write_bytes("1-2-0 FÜR\n".encode("latin-1"))
    with pytest.raises(SystemExit, match="1"):
        main(["data", "check", str(tmp_path), "--corpus", "LibriSpeech"])
    assert "1-2.trans.txt:1: a text file must be UTF-8, got the byte 0xdc" in capsys.readouterr().out


@pytest.mark.parametrize(
    "args",
    [
        ["certify", "--config", f"{PATH}.yaml"],
        ["certify", "--config", PATH],
        ["card", PATH],
        ["recertify", PATH, "--output_dir", "here"],
        ["report", PATH],
        ["export", PATH, "here"],
        ["encoders", "--folder", PATH],
        ["data", "check", PATH],
        ["train", "fit", "--config", f"{PATH}.yaml"],
    ],
    ids=lambda args: args[0],
)
def test_long_paths_are_messages(message, args):
    printed = message(*args)
    assert "error: " in printed
    assert "xxx" in printed


def test_long_paths_of_a_run_are_messages(message, checkpoint, recordings):
    args = ["certify", "--sigma", "0.01", "--data.corpus", "voxcert.data.SpeakerFolders", "--data.corpus.root", PATH]
    assert "root must be an existing folder, got 'xxx" in message(
        *args, "--checkpoint", checkpoint, "--output_dir", "a"
    )
    for option in (["--checkpoint", PATH], ["--checkpoint", checkpoint, "--purifier", PATH]):
        assert "error: " in message(*args, *option, "--output_dir", "a")


def test_what_the_system_refuses_is_a_message(tmp_path, capsys):
    (tmp_path / "file").touch()
    for place, reason in ((tmp_path / "file" / "card.json", "Not a directory"), (tmp_path, "Is a directory")):
        with pytest.raises(SystemExit, match="2"), messages_for_errors():
            place.write_text("")
        assert capsys.readouterr().err == f"error: {place}: {reason}\n"


@pytest.mark.parametrize(("about", "line"), [((), "stopped\n"), (("it goes on",), "stopped; it goes on\n")])
def test_ctrl_c_is_a_line(about, line, capsys):
    with pytest.raises(SystemExit) as stopped, messages_for_errors():
        raise KeyboardInterrupt(*about)
    assert stopped.value.code == 130
    assert capsys.readouterr().err == line


def test_what_is_about_no_file_stays_a_bug():
    with pytest.raises(OSError, match="broken"), messages_for_errors():
        raise OSError("broken")
