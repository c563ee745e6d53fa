"""docs/extend.md is true: its files and commands, copied from the page, run as they stand."""

import re
import shlex
from pathlib import Path

import pytest

from voxcert import load_encoder
from voxcert.cli import main

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extend.md").read_text()
FILES = dict(re.findall(r'```\w+ title="([^"]+)"\n(.*?)```', PAGE, flags=re.DOTALL))
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL) for line in block.splitlines()]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A reader's folder: the files of the page, configs and checkpoints beside them, on Python's path."""
    pytest.importorskip("espeakng_loader", reason='needs espeak voices: pip install "voxcert[espeak]"')
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    for name in ("configs", "checkpoints"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_the_page_has_files_and_commands():
    assert set(FILES) == {f"my_{kind}.{end}" for kind in ("encoder", "attack", "purifier") for end in ("py", "yaml")}
    assert [shlex.split(command)[:2] for command in COMMANDS] == [
        ["export", "PYTHONPATH=."],
        ["voxcert", "certify"],
        ["voxcert", "train"],
        ["export", "VOXCERT_TRUSTED_MODULES=my_encoder"],
        ["voxcert", "export"],
        ["voxcert", "certify"],
        ["voxcert", "attack"],
        ["voxcert", "certify"],
    ]


def run(command, folder):
    main(shlex.split(command)[1:])
    written = re.search(r"--output_dir (\S+)", command)
    if written:
        rows = (folder / written[1] / "rows.jsonl").read_text().splitlines()
        assert len(rows) >= 4
        assert not any('"failed": "' in row for row in rows)


@pytest.mark.parametrize("command", [COMMANDS[1], *COMMANDS[6:]], ids=["encoder", "attack", "purifier"])
def test_a_command_of_the_page_runs(command, folder):
    run(command, folder)


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")  # the config.yaml of the run
def test_an_encoder_of_the_page_is_trained_exported_and_certified(folder, monkeypatch, capsys):
    train, trust, export, certify = COMMANDS[2:6]
    run(train, folder)
    monkeypatch.delenv("VOXCERT_TRUSTED_MODULES", raising=False)
    with pytest.raises(SystemExit):
        run(export, folder)
    assert trust.removeprefix("export ").partition("=")[0] in capsys.readouterr().err, "it says what the page says"
    monkeypatch.setenv(*trust.removeprefix("export ").split("="))
    run(export, folder)
    run(certify, folder)
    trained = load_encoder(folder / re.search(r"--checkpoint (\S+)", certify)[1])
    assert trained.config == {"class_path": "my_encoder.Movement", "init_args": {"num_mels": 32, "dim": 64}}
