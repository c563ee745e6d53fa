"""A line of docs/leaderboard.md is measured again, from the command that stands beside it."""

import os
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from voxcert.cli.certify import certify_parser
from voxcert.cli.options import instantiate, parse, settings
from voxcert.encoders import load_encoder
from voxcert.evaluation.certification.job import build_certifier, certify_item
from voxcert.evaluation.certification.settings import CertificationSettings
from voxcert.evaluation.certification.system import enroll_speakers
from voxcert.evaluation.run.folder import read_summary
from voxcert.evaluation.run.processes import FilledBatches
from voxcert.rows import read_rows
from voxcert.smoothing import Certificate

ROOT = Path(__file__).parents[1]
LINES = sorted((ROOT / "docs" / "results").glob("leaderboard-*"))


@pytest.fixture
def corpora(librispeech, tmp_path, monkeypatch):
    """A folder with both corpora where the protocol looks for them, and the repository's encoders."""
    default = ROOT.parent / "shared" / "data" / "speechocean-adults"
    speechocean = Path(os.environ.get("VOXCERT_SPEECHOCEAN", default))
    if not (speechocean / "manifest.csv").is_file():
        pytest.skip(f"needs speechocean762's adults in {speechocean}: set VOXCERT_SPEECHOCEAN to a folder with them")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "librispeech").symlink_to(Path(librispeech).resolve())
    (tmp_path / "data" / "speechocean-adults").symlink_to(speechocean.resolve())
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")
    monkeypatch.chdir(tmp_path)


def command_of(line):
    """Program and arguments that made a line."""
    words = shlex.split(read_summary(line)["command"])
    return words[:2], words[2:]


def test_every_line_has_its_command_and_all_recordings():
    assert LINES
    for line in LINES:
        program, arguments = command_of(line)
        assert program == ["python", "certify.py"]
        assert "configs/data/unseen.yaml" in arguments or "configs/certify/leaderboard.yaml" in arguments
        rows = [row for row in read_rows(line / "rows.jsonl.gz", Certificate) if row.rule == "vote"]
        assert (len(rows), len({row.speaker for row in rows})) == (94, 47)
        assert {(row.alpha, row.num_select) for row in rows} == {(1e-3, 64)}
        assert max(row.num_estimate for row in rows) == 1000


@pytest.mark.slow
def test_a_recording_of_a_line_is_certified_alike_again(corpora):
    bundled = [line for line in LINES if any(word.startswith("checkpoints/") for word in command_of(line)[1])]
    kept = read_rows(bundled[0] / "rows.jsonl.gz", Certificate)
    parser = certify_parser("certify.py")
    config, _ = parse(parser, command_of(bundled[0])[1])
    data = instantiate(parser, config).data
    chosen = replace(settings(CertificationSettings, config), batch_size=16)
    encoder = FilledBatches(load_encoder(config.checkpoint)).eval()
    recognizer = enroll_speakers(encoder, data.enrollment_dataloader("test"), chosen, torch.device("cpu"))
    item = data.items("test")[0]
    rows, _ = certify_item(build_certifier(recognizer, chosen, kept[0].encoder), item)
    before = {row.rule: row for row in kept if row.utterance == item["utterance"]}
    for row in rows:
        assert row.prediction == before[row.rule].prediction
        assert row.radius == pytest.approx(before[row.rule].radius, rel=1e-3)
