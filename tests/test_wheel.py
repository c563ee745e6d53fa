"""The wheel, away from the repository: installed where its sources are not on the path, used in an empty folder."""

import os
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import yaml

from voxcert.rows import read_rows
from voxcert.smoothing import Certificate

ROOT = Path(__file__).parents[1]
TINY = ["--num_select", "4", "--num_estimate", "16", "--enroll_noise", "1", "--rules", "[vote]", "--accelerator", "cpu"]
FEW_VOICES = [
    "--data.corpus.num_speakers=4",
    "--data.corpus.utterances_per_speaker=2",
    "--data.num_val_speakers=0",
    "--data.num_test_speakers=2",
    "--data.num_enroll=1",
    "--data.crop_seconds=1",
]


def run(*command, cwd=ROOT):
    """Runs a command without what would lead it to the sources, and gives what it printed."""
    settings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    settings |= {"VOXCERT_CACHE": str(Path(cwd) / "cache"), "PYTHONWARNINGS": "ignore"}
    ended = subprocess.run(command, cwd=cwd, env=settings, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Folder of programs of an environment that has the wheel, and every library of this one."""
    pytest.importorskip("hatchling", reason="needs hatchling (make setup installs it)")
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT, check=True)
    (wheel,) = folder.glob("voxcert-*.whl")
    venv.create(folder / "venv", with_pip=False)
    programs = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    run(sys.executable, "-m", "pip", "--python", programs / "python", "install", "--no-deps", "--no-index", wheel)
    # A folder named in a .pth file is on the path, its own .pth files are not read: so not the editable install.
    (own,) = (folder / "venv").glob("**/site-packages")
    (own / "libraries.pth").write_text("\n".join(site.getsitepackages()))
    return programs


def test_the_sources_are_not_on_the_path(installed, tmp_path):
    where = "import sys, voxcert; print(voxcert.__file__, *sys.path, sep='\\n')"
    file, *path = run(installed / "python", "-c", where, cwd=tmp_path).stdout.splitlines()
    assert Path(file).is_relative_to(installed.parent)
    assert not [entry for entry in path if (Path(entry) / "voxcert").is_dir() and Path(entry) != Path(file).parents[1]]


def test_every_config_is_in_the_wheel(installed, tmp_path):
    where = "from voxcert.cli.configs import config_folder; print(config_folder())"
    folder = Path(run(installed / "python", "-c", where, cwd=tmp_path).stdout.strip())
    assert folder.is_relative_to(installed.parent)
    theirs = {path.relative_to(folder): path.read_text() for path in folder.rglob("*.yaml")}
    ours = {path.relative_to(ROOT / "configs"): path.read_text() for path in (ROOT / "configs").rglob("*.yaml")}
    assert theirs == ours


def test_the_page_of_runs_is_in_the_wheel(installed, tmp_path):
    where = "from voxcert.evaluation.report import page; print(page.__file__)"
    folder = Path(run(installed / "python", "-c", where, cwd=tmp_path).stdout.strip()).parent
    own = ROOT / "src/voxcert/evaluation/report"
    files = [path.relative_to(own) for path in own.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")]
    assert {path.suffix for path in files} >= {".html", ".css", ".js", ".txt"}
    assert all((folder / path).read_bytes() == (own / path).read_bytes() for path in files)


def test_certify_in_an_empty_folder(installed, tmp_path):
    pytest.importorskip("espeakng_loader", reason='needs espeak voices: pip install "voxcert[espeak]"')
    named = ["--config", "certify/espeak.yaml", "--encoder", "encoder/ecapa_mini.yaml"]
    ended = run(installed / "voxcert", "certify", *named, *TINY, *FEW_VOICES, cwd=tmp_path)
    configs = "voxcert/configs"
    assert f"{configs}/certify/espeak.yaml" in ended.stderr
    assert f"{configs}/encoder/ecapa_mini.yaml" in ended.stderr
    assert str(ROOT / "configs") not in ended.stderr
    output = tmp_path / yaml.safe_load((ROOT / "configs/certify/espeak.yaml").read_text())["output_dir"]
    rows = read_rows(output / "rows.jsonl", Certificate)
    assert len(rows) == 2  # one recording of each of two speakers is tested
    assert {row.num_estimate for row in rows} == {16}
    run(installed / "voxcert", "report", output, cwd=tmp_path)
    assert "What was proved" in (output / "report.html").read_text()


@pytest.mark.slow  # builds every network
def test_encoders_in_an_empty_folder(installed, tmp_path):
    table = run(installed / "voxcert", "encoders", cwd=tmp_path).stdout
    for path in (ROOT / "configs/encoder").glob("*.yaml"):
        assert f"| `{path.stem}` " in table
