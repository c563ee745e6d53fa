"""What a user types about purifiers: `--purifier` of certify and attack, `voxcert purify` and `voxcert defend`."""

import json
import shutil

import pytest
import soundfile
import torch
import yaml
from attacked import rows_of
from transformers import Wav2Vec2ForCTC

from commands import message
from voxcert.cli import main
from voxcert.encoders.checkpoint import checkpoint_hash, save_checkpoint
from voxcert.encoders.loading import encoder_hash
from voxcert.evaluation.certification.folder import read_run
from voxcert.evaluation.purification.pieces import purify_long
from voxcert.purifiers import AddNoise, GaussianFilter, HashedText
from voxcert.purifiers.checkpoint import load_purifier
from voxcert.purifiers.conditioner import Conditioner
from voxcert.purifiers.diffusion import DiffusionPurifier
from voxcert.purifiers.hearing import SpeechRecognition
from voxcert.purifiers.networks import SpectralDiffWave
from voxcert.purifiers.schedule import PurificationScheduler

SPEAKERS = [f"speaker{number}" for number in range(4)]


@pytest.fixture
def data(short_voices):
    corpus = {"class_path": "voxcert.data.SpeakerFolders", "init_args": {"root": str(short_voices)}}
    return {"corpus": corpus, "num_test_speakers": 4, "num_enroll": 1, "crop_seconds": 0.2}


@pytest.fixture
def config(checkpoint, data, tmp_path):
    """A certification as a YAML file; a test changes what it is about by flags."""
    settings = {
        "checkpoint": str(checkpoint),
        "output_dir": str(tmp_path / "run"),
        "sigma": 0.01,
        "num_select": 4,
        "num_estimate": 16,
        "batch_size": 8,
        "rules": ["vote", "distribution"],
        "accelerator": "cpu",
        "data": data,
    }
    path = tmp_path / "certify.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def run(*args):
    main(list(map(str, args)))


def test_certifies_the_encoder_behind_a_purifier(config, checkpoint, tmp_path, capsys):
    gaussian = ["--purifier", "voxcert.purifiers.GaussianFilter", "--purifier.std", 1.5]
    run("certify", "--config", config)
    run("certify", "--config", config, *gaussian, "--output_dir", tmp_path / "defended")
    printed = capsys.readouterr().out
    bare, defended = read_run(tmp_path / "run"), read_run(tmp_path / "defended")
    name = f"{checkpoint_hash(checkpoint)}+{encoder_hash(GaussianFilter(1.5))}"
    assert {row.encoder for row in bare} == {checkpoint_hash(checkpoint)}
    assert {row.encoder for row in defended} == {name}
    assert [row.point_radius for row in bare] != [row.point_radius for row in defended]
    summary = json.loads((tmp_path / "defended" / "summary.json").read_text())
    assert summary["settings"]["purifier.init_args.std"] == 1.5
    assert ("(purifier and encoder together)" in printed) == any(
        row.correct and row.abstained is None and row.rule == "vote" for row in defended
    )
    # The folder's own config repeats the run, and asks for the same weights.
    run("certify", "--config", tmp_path / "defended" / "config.yaml", "--output_dir", tmp_path / "again")
    assert [row.radius for row in read_run(tmp_path / "again")] == [row.radius for row in defended]
    # Another purifier is another system.
    expected = "purifier.init_args.std is 1.5 there, got 2.0"
    assert expected in message(
        capsys, "certify", "--config", config, *gaussian[:-1], 2.0, "--output_dir", tmp_path / "defended"
    )
    capsys.readouterr()
    run("report", tmp_path / "run", tmp_path / "defended")
    assert f"{tmp_path}/run/certified_comparison.png" in capsys.readouterr().out
    assert (tmp_path / "run" / "certified_comparison.png").read_bytes().startswith(b"\x89PNG")
    run("card", checkpoint, tmp_path / "defended")
    assert (
        "Behind the purifier voxcert.purifiers.GaussianFilter: 4 utterances" in (checkpoint / "README.md").read_text()
    )


def test_attacks_the_system_that_was_certified(config, tmp_path, capsys):
    path = tmp_path / "purifier.yaml"
    path.write_text(yaml.safe_dump(AddNoise(0.01, seed=1).config))
    run("certify", "--config", config, "--purifier", path)
    settings = yaml.safe_load(config.read_text())
    settings = {name: settings[name] for name in ("checkpoint", "data", "sigma", "accelerator")}
    settings["attack"] = {"class_path": "voxcert.attacks.pgd", "init_args": {"epsilon": 0.01, "steps": 2}}
    (tmp_path / "attack.yaml").write_text(yaml.safe_dump(settings))
    smoothed = ["--num_noise", 2, "--num_eval", 4, "--radii", "[0.001]", "--targeted", "false"]
    attack = ["attack", "--config", tmp_path / "attack.yaml", *smoothed, "--certified", tmp_path / "run"]
    assert "must be of one encoder" in message(capsys, *attack, "--output_dir", tmp_path / "bare")
    run(*attack, "--purifier", path, "--output_dir", tmp_path / "attack")
    rows = rows_of(tmp_path / "attack")
    assert {row.encoder for row in rows} == {row.encoder for row in read_run(tmp_path / "run")}
    assert all(0 < row.l2 <= 0.0011 for row in rows)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["voxcert.purifiers.AddNoise", "--purifier.sigma", "0.1"], "error: purifier must have a seed here"),
        (["none"], "error: none is not the checkpoint folder of a purifier"),
        (["voxcert.purifiers.MedianFilter", "--purifier.kernel_size", "4"], "kernel_size must be odd"),
        (["voxcert.purifiers.MedianFilter", "--purifier.size", "3"], "Option 'size' is not accepted"),
    ],
)
def test_bad_purifiers_are_messages(config, capsys, args, expected):
    assert expected in message(capsys, "certify", "--config", config, "--purifier", *args)


@pytest.fixture
def comparison(checkpoint, short_voices, data, tmp_path):
    """A comparison of defences as a YAML file, about recordings with transcripts."""
    said = [
        f"{path},{path.parent.name},{path.parent.name} says {path.stem}" for path in sorted(short_voices.rglob("*.wav"))
    ]
    (tmp_path / "voices.csv").write_text("\n".join(["path,speaker,text", *said]))
    corpus = {"class_path": "voxcert.data.Manifest", "init_args": {"path": str(tmp_path / "voices.csv")}}
    (tmp_path / "codec.yaml").write_text(yaml.safe_dump({"class_path": "voxcert.purifiers.Codec"}))
    defences = [
        {"name": "noise", "purifier": {"class_path": "voxcert.purifiers.AddNoise", "init_args": {"sigma": 0.01}}},
        {"name": "codec", "purifier": str(tmp_path / "codec.yaml"), "text": "wrong"},
    ]
    pgd = {"class_path": "voxcert.attacks.pgd", "init_args": {"epsilon": 0.1, "norm": "l2", "steps": 2}}
    settings = {
        "checkpoint": str(checkpoint),
        "output_dir": str(tmp_path / "defences"),
        "defences": defences,
        "attacks": {"PGD": pgd},
        "text_embedder": {"class_path": "voxcert.purifiers.text.HashedText"},
        "num_draws": 1,
        "accelerator": "cpu",
        "data": data | {"corpus": corpus},
    }
    path = tmp_path / "comparison.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def test_defend_prints_tables_that_report_makes_again(comparison, checkpoint, short_voices, tmp_path, capsys):
    run("defend", "--config", comparison)
    printed, folder = capsys.readouterr().out, tmp_path / "defences"
    assert "| defence | genuine " in printed
    assert "| PGD, adaptive " in printed
    assert "| codec " in printed
    assert f"{folder}/defences.png" in printed
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["command"] == f"voxcert defend --config {comparison}"
    assert {one["num_trials"] for one in summary["defences"]} == {8}
    assert {one["num_failed"] for one in summary["defences"]} == {0}
    assert summary["checkpoint_hash"] == checkpoint_hash(checkpoint)
    (folder / "defences.png").unlink()
    run("report", folder)
    assert capsys.readouterr().out.split("\n\n", 1)[1].strip() == printed.strip()
    assert (folder / "defences.png").is_file()
    run("defend", "--config", folder / "config.yaml", "--output_dir", tmp_path / "again")
    again = json.loads((tmp_path / "again" / "summary.json").read_text())
    assert again["defences"] == summary["defences"]
    silent = json.dumps({"class_path": "voxcert.data.SpeakerFolders", "init_args": {"root": str(short_voices)}})
    printed = message(
        capsys, "defend", "--config", comparison, "--data.corpus", silent, "--output_dir", tmp_path / "no"
    )
    assert "error: text of codec must be none or heard where the corpus lacks transcripts, got wrong" in printed
    expected = "attacks.PGD.init_args.steps is 2 there, got 3"
    assert expected in message(capsys, "defend", "--config", comparison, "--attacks.PGD.steps", 3)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--num_draws", 0], "error: num_draws must be at least 1, got 0"),
        (["--text_embedder", "null"], "error: text_embedder must be given for the text of codec, got null"),
        (["--defences", "[{name: none, purifier: a}]"], "name must be one that a file can have, and not none"),
        (["--defences", "[{name: a, purifier: nothing}]"], "nothing is not the checkpoint folder of a purifier"),
        (["--checkpoint", "nothing"], "error: checkpoint nothing does not exist"),
    ],
)
def test_bad_comparisons_are_messages(comparison, capsys, args, expected):
    assert expected in message(capsys, "defend", "--config", comparison, *args)


def test_purify_writes_the_same_names_and_says_what_failed(short_voices, tmp_path, capsys):
    (tmp_path / "torn.wav").write_bytes(b"")
    purifier = ["--purifier", "voxcert.purifiers.GaussianFilter", "--purifier.std", 2]
    inputs = f"[{short_voices}, {tmp_path / 'torn.wav'}]"
    run("purify", "--inputs", inputs, "--output_dir", tmp_path / "out", *purifier)
    printed = capsys.readouterr().out
    assert f"8 files are purified in {tmp_path}/out, 1 failed." in printed
    assert "torn.wav: empty: the file has 0 bytes" in printed
    names = sorted(str(path.relative_to(short_voices)) for path in short_voices.rglob("*.wav"))
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.wav")) == names
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.wav")}
    run("purify", "--config", tmp_path / "out" / "config.yaml", "--inputs", inputs)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    other = ["purify", "--inputs", inputs, "--output_dir", tmp_path / "out", *purifier[:-1], 3]
    assert "purifier.init_args.std is 2.0 there, got 3.0" in message(capsys, *other)


def test_purify_names_the_file_of_every_failure_once(tmp_path, capsys):
    """What a purifier says of a file does not name it; what cannot be read does."""
    soundfile.write(tmp_path / "good.wav", 0.1 * torch.randn(8000).numpy(), 16_000)
    (tmp_path / "torn.wav").write_bytes(b"")
    args = ["--inputs", f"[{tmp_path / 'good.wav'}, {tmp_path / 'torn.wav'}]", "--output_dir", tmp_path / "out"]
    with pytest.raises(SystemExit):
        run("purify", *args, "--purifier", "voxcert.purifiers.AddNoise", "--purifier.sigma", 1e39)
    *_, good, torn = capsys.readouterr().out.splitlines()
    assert good == f"  {tmp_path}/good.wav: what the purifier returned is not finite"
    assert torn.startswith(f"  {tmp_path}/torn.wav: empty")


def test_purify_ends_with_status_1_where_everything_failed(tmp_path, capsys):
    (tmp_path / "torn.wav").write_bytes(b"")
    args = ["--inputs", f"[{tmp_path / 'torn.wav'}]", "--output_dir", tmp_path / "out"]
    with pytest.raises(SystemExit) as stop:
        run("purify", *args, "--purifier", "voxcert.purifiers.MeanFilter")
    assert stop.value.code == 1
    assert f"0 files are purified in {tmp_path}/out, 1 failed." in capsys.readouterr().out


@pytest.fixture
def reader(tmp_path):
    """Folder of a diffusion purifier that reads, with random weights that do something."""
    torch.manual_seed(0)
    sizes = {"channels": 8, "num_layers": 2, "dilation_cycle": 2, "step_dim": 16}
    network = SpectralDiffWave(Conditioner(num_mels=12, dim=8, num_heads=2), **sizes)
    for parameter in network.parameters():
        if not parameter.any():  # the last layers start at zero
            torch.nn.init.normal_(parameter, std=0.1)
    purifier = DiffusionPurifier(network, PurificationScheduler(conditional=True))
    save_checkpoint(purifier, tmp_path / "reader", {})
    return str(tmp_path / "reader")


@pytest.fixture
def words(speech_recognizer):
    """What a purifier that reads is told what it hears by."""
    transcriber = "voxcert.purifiers.hearing.SpeechRecognition"
    return {
        "text_embedder": {"class_path": "voxcert.purifiers.text.HashedText"},
        "transcriber": {
            "class_path": transcriber,
            "init_args": {"model": speech_recognizer, "local_files_only": True},
        },
    }


def test_purifies_by_what_is_heard(reader, words, speech_recognizer, short_voices, tmp_path):
    (tmp_path / "words.yaml").write_text(yaml.safe_dump(words))
    source = short_voices / SPEAKERS[0] / "0.wav"
    told = ["--config", tmp_path / "words.yaml"]
    for name, extra in (("deaf", []), ("heard", told)):
        run("purify", "--inputs", f"[{source}]", "--purifier", reader, "--output_dir", tmp_path / name, *extra)
    row = json.loads((tmp_path / "heard" / "rows.jsonl").read_text())
    waveform = torch.from_numpy(soundfile.read(source, dtype="float32")[0])
    (text,) = SpeechRecognition(speech_recognizer, local_files_only=True)(waveform[None])
    assert row["text"] == text != ""
    heard, deaf = (torch.from_numpy(soundfile.read(tmp_path / name / "0.wav")[0]).float() for name in ("heard", "deaf"))
    purifier = load_purifier(reader)
    with torch.no_grad():
        expected = purify_long(purifier, waveform, HashedText()([text]), 16_000 * 20)
    torch.testing.assert_close(heard, expected, atol=1e-4, rtol=0)
    assert not torch.allclose(heard, deaf, atol=1e-3)


@pytest.fixture
def replaced(words, tmp_path):
    """A function that replaces the weights of the transcriber in its own folder, of which `words` names a copy."""
    place = words["transcriber"]["init_args"]
    place["model"] = str(shutil.copytree(place["model"], tmp_path / "transcriber"))

    def replace():
        network = Wav2Vec2ForCTC.from_pretrained(place["model"])
        with torch.no_grad():
            network.lm_head.bias += 1
        network.save_pretrained(place["model"])

    return replace


def test_purify_refuses_a_folder_of_words_from_other_weights(reader, words, replaced, short_voices, tmp_path, capsys):
    (tmp_path / "words.yaml").write_text(yaml.safe_dump(words))
    inputs = ["--inputs", f"[{short_voices / SPEAKERS[0] / '0.wav'}]"]
    again = ["purify", *inputs, "--config", tmp_path / "out" / "config.yaml"]
    run("purify", *inputs, "--purifier", reader, "--config", tmp_path / "words.yaml", "--output_dir", tmp_path / "out")
    run(*again)
    kept = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["words_hash"]
    replaced()
    assert f"error: words_hash must be {kept}, got " in message(capsys, *again)
    assert f"words_hash is '{kept}' there, got " in message(capsys, *again, "--words_hash", "null")


def test_defend_refuses_a_folder_of_words_from_other_weights(comparison, reader, words, replaced, tmp_path, capsys):
    config = yaml.safe_load(comparison.read_text()) | words | {"adaptive": False}
    config["defences"] = [{"name": "TDAP", "purifier": reader, "text": "heard"}]
    comparison.write_text(yaml.safe_dump(config))
    run("defend", "--config", comparison)
    kept = yaml.safe_load((tmp_path / "defences" / "config.yaml").read_text())["words_hash"]
    replaced()
    assert f"words_hash is '{kept}' there, got " in message(capsys, "defend", "--config", comparison)
    again = ["defend", "--config", tmp_path / "defences" / "config.yaml"]
    assert f"error: words_hash must be {kept}, got " in message(capsys, *again)


def test_defends_by_what_is_heard_in_what_is_attacked(comparison, reader, words, tmp_path):
    config = yaml.safe_load(comparison.read_text()) | words
    config["defences"] = [{"name": "TDAP", "purifier": reader, "text": "heard"}]
    comparison.write_text(yaml.safe_dump(config))
    run("defend", "--config", comparison)
    rows = [json.loads(line) for line in (tmp_path / "defences" / "rows.jsonl").read_text().splitlines()]
    assert {row["text"] for row in rows if row["defence"] == "TDAP"} == {"heard"}
    assert not any(row["failed"] for row in rows)
    # Enrolment, genuine and attacked speech are each heard, and kept by their samples.
    assert len(list((tmp_path / "defences" / "heard").iterdir())) > 8


@pytest.mark.parametrize(
    "args", [["purify", "--inputs", "[a]", "--purifier", "voxcert.purifiers.MeanFilter"], ["recertify", "runs/one"]]
)
def test_an_output_folder_without_a_name_is_refused(args, capsys):
    args = [*args, "--output_dir", ""]
    assert "error: output_dir must name a folder (. is the working directory), got ''" in message(capsys, *args)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (
            ["--inputs", "[nowhere]", "--purifier", "nothing"],
            "error: nothing is not the checkpoint folder of a purifier",
        ),
        (["--inputs", "[]", "--purifier", "voxcert.purifiers.MeanFilter"], "error: inputs must name at least one"),
        (["--inputs", "[nowhere]"], "the following arguments are required: purifier"),
        (
            ["--inputs", "[a]", "--purifier", "voxcert.purifiers.MeanFilter"]
            + ["--transcriber", "voxcert.purifiers.hearing.SpeechRecognition"],
            "text_embedder must be given beside a transcriber",
        ),
    ],
)
def test_bad_purifications_are_messages(tmp_path, capsys, args, expected):
    assert expected in message(capsys, "purify", "--output_dir", tmp_path / "out", *args)


@pytest.mark.parametrize("command", ["purify", "defend"])
def test_both_have_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        run(command, "--help")
    assert stop.value.code == 0
    assert f"voxcert {command}" in capsys.readouterr().out


def test_random_weights_are_the_same_in_every_run(reader, short_voices, tmp_path):
    source = short_voices / SPEAKERS[0] / "0.wav"
    config = yaml.safe_load((tmp_path / "reader" / "config.yaml").read_text())
    (tmp_path / "run.yaml").write_text(yaml.safe_dump({"purifier": config}))
    for _ in range(2):  # the second run would refuse other weights
        run("purify", "--inputs", f"[{source}]", "--config", tmp_path / "run.yaml", "--output_dir", tmp_path / "out")
