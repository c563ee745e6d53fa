"""What the docs report is measured again: the command of a result does its first task, and its rows are as before."""

import fnmatch
import lzma
import math
import os
import shlex
import shutil
from contextlib import contextmanager
from dataclasses import asdict
from functools import reduce
from importlib import import_module
from pathlib import Path
from statistics import fmean

import pytest
from representation_statistics import RepresentationRow
from tables import KEPT_MARGINS, KEPT_ROWS, OF_NO_RUN, PAGES, TABLE

from voxcert.cli import COMMANDS
from voxcert.cli.hearing import hearing
from voxcert.evaluation.attack.row import AttackRow
from voxcert.evaluation.defence.row import DefenceRow
from voxcert.evaluation.hearing.job import read_hearing
from voxcert.evaluation.hearing.row import HearingRow
from voxcert.evaluation.inversion.row import InversionRow
from voxcert.evaluation.planning.row import PilotRow
from voxcert.evaluation.run import job
from voxcert.evaluation.run.folder import ROWS, read_summary, write_config
from voxcert.rows import read_rows
from voxcert.smoothing import Certificate
from voxcert.smoothing.certified_score import CertifiedScore

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
OF_THE_RUN = {"seconds", "forwards", "backwards"}
"""Fields that depend on the machine, and those that some results are older than."""
REPEATED = {
    "adaptive-diffusion-l2": DefenceRow,
    "attack-campplus-csi-fgsm-0.001": AttackRow,
    "attack-csi-fgsm-0.001": AttackRow,
    "attack-csi-ssed-0.01": AttackRow,
    "attack-osi-fgsm-0.001": AttackRow,
    "attack-osi-ssed-0.01": AttackRow,
    "audit-campplus-fgsm": AttackRow,
    "bare-mini-robust-0.25": Certificate,
    "certify-mini-clean-at-0.01": Certificate,
    "defences-campplus-l2": DefenceRow,
    "defences-l2": DefenceRow,
    "defences-linf": DefenceRow,
    "features-1.33": Certificate,
    "inside-mini-smoothadv-0.1": AttackRow,
    "inversion-1000-steps": InversionRow,
    "inversion-40-steps": InversionRow,
    "inversion-d-vectors-noise-1000": InversionRow,
    "inversion-longer": InversionRow,
    "inversion-white": InversionRow,
    "leaderboard-campplus-0.1": Certificate,
    "leaderboard-campplus-0.25": Certificate,
    "leaderboard-campplus-robust-0.1": Certificate,
    "leaderboard-campplus-robust-0.25": Certificate,
    "leaderboard-mini-smoothadv-0.1": Certificate,
    "magnitude-0.1": Certificate,
    "mini": Certificate,
    "noise-ecapa-mini": AttackRow,
    "noise-ecapa-mini-clean": AttackRow,
    "noise-smoothed-ecapa-mini": AttackRow,
    "pgd-l2-ecapa-mini": AttackRow,
    "pgd-smoothed-mini-smoothadv-0.1": AttackRow,
    "pgd-sv-true-0.1": AttackRow,
    "plan-campplus": PilotRow,
    "plan50-campplus-0.1": PilotRow,
    "plan50-campplus-0.25": PilotRow,
    "plan50-ecapa-mini-robust-0.1": PilotRow,
    "prototypes-utterance": AttackRow,
    "representations": RepresentationRow,
    "smoothadv": Certificate,
    "study-enroll-1": Certificate,
    "study-speakers-47": Certificate,
    "table-mini-0.1": Certificate,
    "table-robust-0.1": Certificate,
    "transfer-ssed-ecapa-mini-robust-0.1": AttackRow,
    "verification": CertifiedScore,
    "verification-campplus": CertifiedScore,
    "verification-campplus-robust": CertifiedScore,
}
"""At least one result of every table of the docs, and what its rows are."""
LED_ELSEWHERE = {"inversion-longer", "inversion-white"}
"""Descents from noise: roundings lead some of them elsewhere, so only means over speakers are as before."""
MEDIAN = "{name: median, purifier: {class_path: voxcert.purifiers.MedianFilter, init_args: {kernel_size: 3}}}"
OTHERWISE = {
    "audit-campplus-fgsm": ("--checkpoint", "campplus_cn_en_common.pt"),  # its config does not say where that was
    "defences-campplus-l2": ("--defences", f"[{MEDIAN}]"),  # one of 13
    "verification-campplus": ("--radii", "[0,0.01,0.03,0.1,0.195,0.5]"),
    "verification-campplus-robust": ("--radii", "[0,0.01,0.03,0.1,0.195,0.5]"),
}
"""Options that a kept command lacks, that shorten it, or that replace what its config had then."""
OLDER = dict.fromkeys(("plan-campplus", "plan50-campplus-0.1", "plan50-campplus-0.25"), {"hoped"})
"""Fields that a result is older than."""
TOLERANCES = {
    "prototypes-utterance": 0.1,  # steps back and forth about a maximum: other instructions move a mean SNR by 0.06 dB
    "study-speakers-47": 1e-3,  # radii from counts: one noisy copy of a thousand that lies on a border moves them
    "table-robust-0.1": 1e-3,  # likewise
    "verification-campplus": 1e-3,  # likewise, bounds of scores
}
"""How far numbers may be from the kept ones where 1e-6, or a thousandth of them, is too little on other processors."""


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    """Copies of bundled checkpoints with one setting changed, as the docs make them, and the config of an audit."""
    runs = tmp_path_factory.mktemp("runs")
    for name, copy, old, new in (
        ("ssed-mini-csi", "ssed-csi", "target: '8014'", "target: librispeech/8014"),
        ("ssed-mini-osi", "ssed-osi", "target: '8014'", "target: librispeech/8014"),
        ("dap-mini", "dap-fresh", "\n  seed: 0", "\n  seed: null"),
        ("tdap-mini", "tdap-fresh", "\n  seed: 0", "\n  seed: null"),
    ):
        config = shutil.copytree(ROOT / "checkpoints" / name, runs / copy) / "config.yaml"
        assert old in config.read_text()
        config.write_text(config.read_text().replace(old, new))
    write_config(runs / "audit-campplus" / "fgsm", config_of("audit-campplus-fgsm"))
    return runs


def config_of(name):
    """What config.yaml of a kept run holds, but for where it was and what it was about."""
    config = {}
    for setting, value in read_summary(RESULTS / name)["settings"].items():
        *parents, last = setting.split(".")
        reduce(lambda parent, key: parent.setdefault(key, {}), parents, config)[last] = value
    return config


@pytest.fixture
def home(librispeech, edited, tmp_path, monkeypatch):
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
    (tmp_path / "runs").symlink_to(edited)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory):
    """Where runs of one network at one sigma share what they embed: enrolling with CAM++ takes minutes."""
    return tmp_path_factory.mktemp("embeddings")


def arguments_of(name, folder, embeddings):
    """The function of a command, and its arguments, but for where results go and in how many processes.

    Generated code is right to 1e-4 and takes longer to generate than one task without it.
    """
    _, script, *words = shlex.split(read_summary(RESULTS / name)["command"])
    words += OTHERWISE.get(name, ())
    for option, value in (("--devices", "1"), ("--embeddings", str(embeddings)), ("--output_dir", str(folder))):
        if option in words:
            words[words.index(option) + 1] = value
    if script.endswith("certify.py") or script.startswith("benchmarks/"):
        words += ["--compile", "false"]
    if script.startswith(("benchmarks/", "docs/")):
        return import_module(Path(script).stem).main, words
    command = Path(script).stem  # certify.py is `voxcert certify`
    return getattr(import_module(f"voxcert.cli.{COMMANDS[command].module}"), command), words


def do_a_task(command, arguments):
    """Runs a command until it has done the task at hand (`one_task`)."""
    with pytest.raises(SystemExit) as stopped:
        command(arguments)
    assert stopped.value.code == 0


def certify_as_kept(folder, embeddings):
    """A certification that an attack is to go by: after a first task of its own it has the kept rows."""
    if folder.exists():  # for another result already
        return
    do_a_task(*arguments_of(folder.name, folder, embeddings))
    (folder / ROWS).write_bytes(lzma.decompress((RESULTS / folder.name / KEPT_ROWS).read_bytes()))


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


def check_rows(new, kept, tolerance, older=frozenset()):
    """Holds new rows against the kept ones of the same keys, which may lack some fields."""
    old = {row.key: asdict(row) for row in kept}
    assert new
    for row in new:
        now, then = asdict(row), old[row.key]
        differing = {field: (now[field], then[field]) for field in now if not alike(now[field], then[field], tolerance)}
        assert differing.keys() <= OF_THE_RUN | older, differing


def check_means(new, kept):
    """As `check_rows`, for means over the speakers inverted in one way.

    With other instructions of the same processor up to 5 of 100 are named otherwise (docs/inversion.md).
    """
    old = {row.key: row for row in kept}
    pairs = [(row, old[row.key]) for row in new]
    assert len(pairs) > 20
    assert len({row.experiment for row in new}) == 1
    for field in ("chunk_accuracy", "posterior", "cost", "steps", "distance", "nearest"):
        now, then = (fmean(getattr(row, field) for row in rows) for rows in zip(*pairs, strict=True))
        assert math.isclose(now, then, rel_tol=0.02, abs_tol=0.01), field
    now, then = (fmean(row.named == row.speaker for row in rows) for rows in zip(*pairs, strict=True))
    assert abs(now - then) < 0.1


def test_a_result_of_every_table_is_repeated():
    results = {path.name for path in RESULTS.iterdir()}
    tables = [match[2].split() for page in PAGES for match in TABLE.finditer(page.read_text())]
    tables.remove([OF_NO_RUN])
    shown = [{name for word in words for name in fnmatch.filter(results, word)} for words in tables]
    assert len(shown) > 50
    assert all(shown)
    assert not [names for names in shown if not names & REPEATED.keys()]


@pytest.mark.slow
@pytest.mark.parametrize("name", REPEATED)
def test_the_first_rows_of_a_result_are_made_again(name, home, embeddings, one_task):
    command, arguments = arguments_of(name, home / "run", embeddings)
    if missing := [word for word in arguments if word.endswith(".pt") and not Path(word).exists()]:
        pytest.skip(f"needs {', '.join(missing)}: set VOXCERT_PUBLISHED to a folder that holds published weights")
    if "--certified" in arguments:
        certify_as_kept(Path(arguments[arguments.index("--certified") + 1]), embeddings)
    do_a_task(command, arguments)
    rows = [row for path in home.glob("run/rows*.jsonl") for row in read_rows(path, REPEATED[name])]
    kept = read_rows(RESULTS / name / KEPT_ROWS, REPEATED[name])
    if name in LED_ELSEWHERE:
        check_means(rows, kept)
    else:
        check_rows(rows, kept, TOLERANCES.get(name, 1e-6), OLDER.get(name, frozenset()))
    if margins := read_rows(RESULTS / name / KEPT_MARGINS, HearingRow):
        hearing([str(home / "run")])
        check_rows(read_hearing(home / "run"), margins, 1e-3)
