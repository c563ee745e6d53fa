"""What the docs report is measured again: the command of a result does its first task, and its rows are as before."""

import math
import os
import shlex
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import pytest

from voxcert.cli import COMMANDS
from voxcert.cli.hearing import hearing
from voxcert.evaluation.attack.row import AttackRow
from voxcert.evaluation.defence.row import DefenceRow
from voxcert.evaluation.hearing.job import read_hearing
from voxcert.evaluation.hearing.row import HearingRow
from voxcert.evaluation.inversion.row import InversionRow
from voxcert.evaluation.planning.row import PilotRow
from voxcert.evaluation.run import job
from voxcert.evaluation.run.folder import read_summary
from voxcert.rows import read_rows
from voxcert.smoothing import Certificate
from voxcert.smoothing.certified_score import CertifiedScore

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
OF_THE_RUN = {"seconds", "forwards", "backwards"}
"""Fields that depend on the machine, and those that some results are older than."""
TABLES = {
    "attack-csi-fgsm-0.001": AttackRow,
    "defences-l2": DefenceRow,
    "features": Certificate,
    "inversion-40-steps": InversionRow,
    "leaderboard-mini-smoothadv-0.1": Certificate,
    "magnitude": Certificate,
    "mini": Certificate,
    "pgd-l2-ecapa-mini": AttackRow,
    "pgd-sv-true-0.1": AttackRow,
    "plan50-ecapa-mini-robust-0.1": PilotRow,
    "prototypes-utterance": AttackRow,
    "study-enroll-1": Certificate,
    "study-speakers-47": Certificate,
    "table-robust-0.1": Certificate,
    "verification": CertifiedScore,
}
"""One result for every table of the docs, and what its rows are; others differ in settings alone."""
TOLERANCES = {
    "prototypes-utterance": 0.05,  # steps that go back and forth about a maximum: roundings lead them elsewhere
    "study-speakers-47": 1e-3,  # radii from counts: one noisy copy of a thousand that lies on a border moves them
    "table-robust-0.1": 1e-3,  # likewise
}
"""How far numbers may be from the kept ones where 1e-6, or a thousandth of them, is too little on other processors."""


@pytest.fixture
def home(librispeech, tmp_path, monkeypatch):
    """A folder where commands of the docs find both corpora, the repository's files and published weights."""
    shared = ROOT.parent / "shared"
    speechocean = Path(os.environ.get("VOXCERT_SPEECHOCEAN", shared / "data" / "speechocean-adults"))
    published = Path(os.environ.get("VOXCERT_PUBLISHED", shared / "published"))
    if not (speechocean / "manifest.csv").is_file():
        pytest.skip(f"needs speechocean762's adults in {speechocean}: set VOXCERT_SPEECHOCEAN to a folder with them")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "librispeech").symlink_to(Path(librispeech).resolve())
    (tmp_path / "data" / "speechocean-adults").symlink_to(speechocean.resolve())
    (tmp_path / "models").symlink_to(published.resolve())
    (tmp_path / "campplus_cn_en_common.pt").symlink_to(published.resolve() / "campplus_cn_en_common.pt")
    (tmp_path / "checkpoints").symlink_to(ROOT / "checkpoints")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def arguments_of(name, folder):
    """The function of a command, and its arguments, but for where results go and in how many processes.

    Generated code is right to 1e-4 and takes longer to generate than one task without it.
    """
    words = shlex.split(read_summary(RESULTS / name)["command"])
    script, words = words[1], words[2:]
    for option, value in (("--devices", "1"), ("--embeddings", None), ("--output_dir", str(folder))):
        if option in words:
            place = words.index(option)
            words[place : place + 2] = [] if value is None else [option, value]
    if script.endswith(".py"):
        words += ["--compile", "false"]
    if script.startswith("benchmarks/"):
        return import_module(Path(script).stem).main, words
    command = Path(script).stem  # certify.py is `voxcert certify`
    return getattr(import_module(f"voxcert.cli.{COMMANDS[command].module}"), command), words


def alike(new, old, tolerance):
    """Whether two values are the same; numbers may differ as another processor makes them differ."""
    if isinstance(new, float) and isinstance(old, float):
        return math.isclose(new, old, rel_tol=1e-3, abs_tol=tolerance) or (math.isnan(new) and math.isnan(old))
    if isinstance(new, list | tuple) and isinstance(old, list | tuple):
        return len(new) == len(old) and all(alike(*pair, tolerance) for pair in zip(new, old, strict=True))
    return new == old


@pytest.fixture
def one_task(monkeypatch):
    """Runs stop after the task at hand, as if SIGTERM had come."""

    @contextmanager
    def at_once():
        yield lambda: True

    monkeypatch.setattr(job, "stop_requests", at_once)


def check_rows(new, kept, tolerance):
    """Holds new rows against the kept ones of the same keys."""
    old = {row.key: asdict(row) for row in kept}
    assert new
    for row in new:
        now, then = asdict(row), old[row.key]
        differing = {field: (now[field], then[field]) for field in now if not alike(now[field], then[field], tolerance)}
        assert differing.keys() <= OF_THE_RUN, differing


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
def test_the_first_rows_of_a_result_are_made_again(name, home, one_task):
    command, arguments = arguments_of(name, home / "run")
    if missing := [word for word in arguments if word.endswith(".pt") and not Path(word).exists()]:
        pytest.skip(f"needs {', '.join(missing)}: set VOXCERT_PUBLISHED to a folder that holds published weights")
    with pytest.raises(SystemExit) as stopped:
        command(arguments)
    assert stopped.value.code == 0
    rows = [row for path in home.glob("run/rows*.jsonl") for row in read_rows(path, TABLES[name])]
    check_rows(rows, read_rows(RESULTS / name / "rows.jsonl.gz", TABLES[name]), TOLERANCES.get(name, 1e-6))


@pytest.mark.slow
def test_the_first_hearing_margins_of_a_result_are_measured_again(home, one_task):
    command, arguments = arguments_of("table-mini-0.1", home / "run")
    with pytest.raises(SystemExit):
        command(arguments)
    hearing([str(home / "run")])
    kept = read_rows(RESULTS / "table-mini-0.1" / "hearing.jsonl.gz", HearingRow)
    check_rows(read_hearing(home / "run"), kept, 1e-3)
