"""What a user types: `voxcert plan`, `hearing` and `audit`; an audit that is killed goes on."""

import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from audited import DATA, TINY

from voxcert.cli import main
from voxcert.evaluation.audit.job import PAGE
from voxcert.evaluation.audit.stages import EMBEDDINGS
from voxcert.evaluation.hearing.job import read_hearing

SOURCE = Path(__file__).parents[1] / "src"


@pytest.fixture
def data(voices):
    """The options that name four speakers who hum."""
    options = ["--data.corpus", "voxcert.data.SpeakerFolders", "--data.corpus.root", str(voices)]
    return options + [word for name, value in DATA.items() for word in (f"--data.{name}", str(value))]


def options(settings):
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


def test_plan_prints_estimates_and_a_recommendation(data, checkpoint, tmp_path, capsys):
    names = ("sigmas", "samples", "num_utterances", "num_pilot", "num_select", "batch_size", "minutes", "accelerator")
    settings = {name: TINY[name] for name in names}
    command = ["plan", "--checkpoint", str(checkpoint), "--output_dir", str(tmp_path / "plan"), *data]
    main([*command, *options(settings)])
    printed = capsys.readouterr().out
    assert "| sigma | rule " in printed
    assert "Estimates, not a guarantee: from 16 noisy copies of each of 2 test utterances" in printed
    assert "In 500 minutes: sigma 0.001 with 32 samples for all 6 utterances" in printed
    with pytest.raises(SystemExit, match="2"):
        main([*command, *options(settings | {"num_pilot": 17})])
    assert "num_pilot is 16 there, got 17" in capsys.readouterr().err


def test_plan_of_a_purifier_and_an_encoder(data, checkpoint, tmp_path, capsys):
    names = ("sigmas", "samples", "num_utterances", "num_pilot", "num_select", "batch_size", "accelerator")
    command = ["plan", "--checkpoint", str(checkpoint), "--output_dir", str(tmp_path), *data]
    command += options({name: TINY[name] for name in names})
    main([*command, "--purifier", "voxcert.purifiers.MeanFilter"])
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert config["purifier"]["class_path"] == "voxcert.purifiers.MeanFilter"
    assert "+" in config["checkpoint_hash"]
    capsys.readouterr()
    fresh = ["--purifier", "voxcert.purifiers.AddNoise", "--purifier.sigma", "0.01"]
    with pytest.raises(SystemExit, match="2"):
        main([*command, "--output_dir", str(tmp_path / "fresh"), *fresh])
    assert "purifier must have a seed here" in capsys.readouterr().err


@pytest.fixture
def certified(data, checkpoint, tmp_path, capsys):
    """The folder of a certification run."""
    settings = {"sigma": 0.001, "num_select": 8, "num_estimate": 32, "batch_size": 8, "accelerator": "cpu"}
    main(["certify", "--checkpoint", str(checkpoint), "--output_dir", str(tmp_path / "run"), *data, *options(settings)])
    capsys.readouterr()
    return tmp_path / "run"


def test_hearing_finds_the_runs_recordings_by_itself(certified, capsys):
    main(["hearing", str(certified)])
    printed = capsys.readouterr().out
    assert "| rule         | sigma | certified" in printed
    assert str(certified / "hearing.jsonl") in printed
    assert {row.norm_bound > 0 for row in read_hearing(certified)} == {True}


def test_hearing_finds_recordings_that_have_moved(certified, voices, tmp_path, capsys):
    os.symlink(voices, tmp_path / "elsewhere")
    config = certified / "config.yaml"
    config.write_text(config.read_text().replace(str(voices), "gone"))
    with pytest.raises(SystemExit, match="2"):
        main(["hearing", str(certified)])
    assert "gone" in capsys.readouterr().err
    main(["hearing", str(certified), "--data.corpus.root", str(tmp_path / "elsewhere")])
    assert "distribution" in capsys.readouterr().out


def test_hearing_refuses_what_is_no_run(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["hearing", str(tmp_path)])
    printed = capsys.readouterr().err
    assert printed == f"error: run must be the output folder of `certify`, got {tmp_path} without config.yaml\n"
    with pytest.raises(SystemExit, match="2"):
        main(["hearing", str(tmp_path / "nowhere")])
    assert "run must be the output folder of `certify`, got no folder in:" in capsys.readouterr().err


def test_hearing_of_an_unfinished_run_says_of_how_many(certified, capsys):
    rows = (certified / "rows.jsonl").read_text().splitlines(keepends=True)
    first = json.loads(rows[0])["utterance"]
    (certified / "rows.jsonl").write_text("".join(row for row in rows if json.loads(row)["utterance"] == first))
    (certified / "rows.rank1.jsonl").write_text("")
    main(["hearing", str(certified)])
    printed = capsys.readouterr()
    assert f"\n{certified}: not finished, 1 of 6 utterances\n" in printed.out
    assert f"{certified}: without the rows of other processes" in printed.err


def test_hearing_takes_values_that_no_path_can_be(certified, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["hearing", "--data.test_parts", f"[{','.join(f'part{number}' for number in range(60))}]", str(certified)])
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    assert "part0" in printed


def without_times(page):
    """A page but for when it was written, and for how long attacks took: the last cell of their table."""
    page = re.sub(r"<time.*?</time>", "", page)
    return re.sub(r"(<tr><th scope=\"row\">(?:fgsm|pgd|nes), .*)<td>[\d.e-]+</td></tr>", r"\1", page)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_an_audit_that_is_killed_five_times_gives_the_page_of_an_undisturbed_one(data, checkpoint, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "from voxcert.cli import main; main()", "audit", "--checkpoint", str(checkpoint)]
    command += ["--output_dir", "audit", *data, *options(TINY)]

    def started(folder):
        folder.mkdir(exist_ok=True)
        return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)

    def finish(folder):
        process = started(folder)
        _, complaints = process.communicate(timeout=600)
        assert process.returncode == 0, complaints.decode()
        return without_times((folder / "audit" / PAGE).read_text())

    whole = finish(tmp_path / "whole")
    total = written(tmp_path / "whole")
    moments = random.Random(0)
    for goal in sorted(moments.uniform(0, total) for _ in range(5)):
        process = started(tmp_path / "killed")
        while process.poll() is None and written(tmp_path / "killed") < goal:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.2))
        process.kill()
        _, complaints = process.communicate()
        assert process.returncode == -signal.SIGKILL, complaints.decode()
    assert not (tmp_path / "killed" / "audit" / PAGE).exists()
    assert finish(tmp_path / "killed") == whole


def written(folder):
    """Bytes of rows so far."""
    stages = [stage for stage in folder.glob("audit/*") if stage.name != EMBEDDINGS]  # which vanish meanwhile
    return sum(path.stat().st_size for stage in stages for path in stage.glob("rows*.jsonl"))


def test_audit_says_where_its_page_is(data, checkpoint, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "audit"
    main(["audit", "--checkpoint", str(checkpoint), "--output_dir", str(folder), *data, *options(TINY)])
    printed = capsys.readouterr()
    assert printed.out.rstrip().endswith(str(folder / PAGE))
    assert "10 of 10" in printed.err
    summary = json.loads((folder / "certify-0.001" / "summary.json").read_text())
    monkeypatch.chdir(tmp_path)
    main(shlex.split(summary["command"])[1:])
    again = json.loads(Path("runs/repeated/summary.json").read_text())
    assert again["rules"] == summary["rules"], "the command on the page repeats its numbers"
