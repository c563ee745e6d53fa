"""The recipes of docs/scaling.md, dry-run: what schedulers would start is read from the page and started without them.

Stand-ins take the place of `srun`, `python` and `voxcert` where only their arguments matter. In the slow test torchrun,
and an `srun` of ten lines, start two real processes.
"""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch.distributed.run as torchrun
import yaml

from voxcert.cli import main
from voxcert.evaluation.certification.folder import read_run

ROOT = Path(__file__).parents[1]
SECTIONS = dict(
    part.split("\n", 1) for part in re.split(r"^## ", (ROOT / "docs" / "scaling.md").read_text(), flags=re.MULTILINE)
)
NOTES = '#!/bin/bash\nprintf "%s\\n" "$@" > "$CALLED"\n'
"""A stand-in that writes down its arguments."""


def blocks(section, language):
    return re.findall(rf"^```{language}\n(.*?)^```", SECTIONS[section], flags=re.DOTALL | re.MULTILINE)


def settings_of(words, capsys):
    """What the options of `certify` mean."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["certify", *words, "--print_config"])
    printed = capsys.readouterr()
    assert stop.value.code in (0, None), printed.err
    return yaml.safe_load(printed.out)


@pytest.fixture
def shell(tmp_path):
    """Starts a script of the page in bash, with stand-ins of these names before everything on the path."""
    called = tmp_path / "called"

    def start(script, stand_ins, **variables):
        for name, text in stand_ins.items():
            path = tmp_path / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "CALLED": str(called)}
        return subprocess.Popen(["bash", "-c", script], cwd=ROOT, env=environment | variables)

    def words_of(script, name, **variables):
        assert start(script, {name: NOTES}, **variables).wait(60) == 0
        return called.read_text().splitlines()

    start.called, start.words_of = called, words_of
    return start


def directives(script):
    """The options that SLURM reads of a script."""
    lines = re.findall(r"^#SBATCH (.*)$", script, flags=re.MULTILINE)
    return dict(word.removeprefix("--").partition("=")[::2] for line in lines for word in line.split())


@pytest.mark.parametrize("line", blocks("torchrun", "bash")[0].replace("\\\n", " ").strip().splitlines())
def test_torchrun_starts_as_many_processes_as_the_run_expects(line, capsys, monkeypatch):
    program, *words = shlex.split(line)
    assert program == "torchrun"
    given = torchrun.parse_args(words)
    assert (ROOT / given.training_script).is_file()
    monkeypatch.chdir(ROOT)
    settings = settings_of(given.training_script_args, capsys)
    assert (given.nproc_per_node, given.nnodes.rpartition(":")[2]) == (
        str(settings["devices"]),
        str(settings["num_nodes"]),
    )


def test_a_slurm_job_starts_as_many_processes_as_the_run_expects(shell, capsys, monkeypatch):
    script, *_ = blocks("SLURM", "bash")
    first, program, path, *words = shell.words_of(script, "srun")
    assert (first, program) == ("--kill-on-bad-exit=1", "python")
    assert (ROOT / path).is_file()
    monkeypatch.chdir(ROOT)
    asked, settings = directives(script), settings_of(words, capsys)
    assert (asked["ntasks-per-node"], asked["nodes"]) == (str(settings["devices"]), str(settings["num_nodes"]))
    assert asked["gpus-per-node"] == asked["ntasks-per-node"]
    assert asked["signal"].startswith("TERM@"), "which lets a run end in good order"
    assert "requeue" in asked


def test_a_slurm_array_draws_every_shard_once_and_all_are_put_together(shell, capsys, monkeypatch):
    _, script, together = blocks("SLURM", "bash")
    low, high = map(int, directives(script)["array"].split("-"))
    folders = []
    for task in (low, high):
        path, *words = shell.words_of(script, "python", SLURM_ARRAY_TASK_ID=str(task))
        assert (ROOT / path).is_file()
        with monkeypatch.context() as patch:
            patch.chdir(ROOT)
            settings = settings_of(words, capsys)
        assert (settings["shard"], settings["num_shards"], settings["keep_statistics"]) == (task, high, True)
        folders.append(settings["output_dir"])
    assert low == 1
    name, *parts, option, whole = shell.words_of(together, "voxcert")
    assert (name, option) == ("recertify", "--output_dir")
    assert (len(parts), parts[0], parts[-1]) == (high, *folders)
    assert whole not in parts


def pod():
    """The job of the page, its container, and the shell that the container runs."""
    job = yaml.safe_load(blocks("Kubernetes", "yaml")[0])
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["bash", "-c"]
    (script,) = container["args"]
    return job, container, script


def test_a_kubernetes_job_draws_every_shard_once_from_what_is_mounted(shell, capsys, monkeypatch, tmp_path):
    job, container, script = pod()
    spec = job["spec"]
    assert (job["apiVersion"], job["kind"], spec["completionMode"]) == ("batch/v1", "Job", "Indexed")
    assert spec["template"]["spec"]["restartPolicy"] == "OnFailure", "the next pod goes on"
    (mount,), (volume,) = container["volumeMounts"], spec["template"]["spec"]["volumes"]
    assert mount["name"] == volume["name"]
    moved = script.replace(mount["mountPath"], str(tmp_path))
    for index in (0, spec["completions"] - 1):
        finished = tmp_path / "runs" / f"part{index + 1}" / "summary.json"
        finished.parent.mkdir(parents=True)
        finished.write_text("{}")
        command, *words = shell.words_of(moved, "voxcert", JOB_COMPLETION_INDEX=str(index))
        assert command == "certify"
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)  # configs are found by their name wherever the pod is
            settings = settings_of(words, capsys)
        assert (settings["shard"], settings["num_shards"]) == (index + 1, spec["completions"])
        assert settings["output_dir"] == str(finished.parent)
        for place in (settings["checkpoint"], settings["data"]["corpus"]["init_args"]["root"]):
            assert place.startswith(f"{tmp_path}/"), "an image holds neither weights nor recordings"


@pytest.mark.parametrize("is_finished", [False, True])
def test_a_pod_that_is_evicted_lets_its_run_stop_and_says_whether_it_is_finished(shell, tmp_path, is_finished):
    _, container, script = pod()
    runs = NOTES + 'trap "echo stopped >> $CALLED; kill $!; exit 0" TERM\nsleep 60 & wait\n'
    if is_finished:
        (tmp_path / "runs" / "part1").mkdir(parents=True)
        (tmp_path / "runs" / "part1" / "summary.json").write_text("{}")
    moved = script.replace(container["volumeMounts"][0]["mountPath"], str(tmp_path))
    process, deadline = shell(moved, {"voxcert": runs}, JOB_COMPLETION_INDEX="0"), time.monotonic() + 60
    while not shell.called.is_file() or "--output_dir" not in shell.called.read_text():
        assert time.monotonic() < deadline, "the run was not started"
        time.sleep(0.01)
    time.sleep(0.5)  # until the stand-in waits
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == (0 if is_finished else 1)
    assert shell.called.read_text().splitlines()[-1] == "stopped", "the run was asked to"


SRUN = """
import os, subprocess, sys
option, *command = sys.argv[1:]
assert option == "--kill-on-bad-exit=1"
ranks = [{"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(2)]
started = [subprocess.Popen(command, env=os.environ | rank) for rank in ranks]
sys.exit(max(process.wait() for process in started))
"""
"""What SLURM tells the tasks of one node."""


def with_two_processes(line, config, folder):
    """A recipe about the data of a config, with two processes on this machine."""
    words = shlex.split(line)
    own = {"--config": config, "--devices": "2", "--nproc_per_node": "2", "--num_nodes": "1", "--output_dir": folder}
    for option, value in own.items():
        if option in words:
            words[words.index(option) + 1] = str(value)
    place = words.index("--checkpoint")
    del words[place : place + 2]  # the config names it
    return ["certify.py" if word.endswith("certify.py") else word for word in words]


@pytest.mark.slow
def test_two_processes_of_a_recipe_give_the_rows_of_one(voices, checkpoint, tmp_path):
    corpus = {"class_path": "voxcert.data.SpeakerFolders", "init_args": {"root": str(voices)}}
    settings = {
        "checkpoint": str(checkpoint),
        "sigma": 0.001,
        "num_select": 8,
        "num_estimate": 32,
        "batch_size": 16,
        "accelerator": "cpu",
        "data": {"corpus": corpus, "num_test_speakers": 4, "num_enroll": 1, "crop_seconds": 0.4},
    }
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings))
    main(["certify", "--config", str(config), "--output_dir", str(tmp_path / "one")])
    (tmp_path / "srun.py").write_text(SRUN)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    slurm = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_NODEID": "0"}
    slurm |= {"SLURM_JOB_NAME": "certify", "SLURM_NODELIST": "127.0.0.1", "MASTER_PORT": port}
    own = {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    recipes = {
        "torchrun": (blocks("torchrun", "bash")[0].splitlines()[0], ["-m", "torch.distributed.run"], {}),
        "slurm": (
            re.search(r"^srun (?:.*\\\n)*.*$", blocks("SLURM", "bash")[0], flags=re.MULTILINE)[0],
            [str(tmp_path / "srun.py")],
            slurm,
        ),
    }
    for name, (line, launcher, variables) in recipes.items():
        _, *words = with_two_processes(line.replace("\\\n", " "), config, tmp_path / name)
        words = [sys.executable if word == "python" else word for word in words]
        command = [sys.executable, *launcher, *words]
        run = subprocess.run(command, cwd=ROOT, env=os.environ | own | variables, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert yaml.safe_load((tmp_path / name / "summary.json").read_text())["timing"]["processes"] == 2
        assert [row.radius for row in read_run(tmp_path / name)] == [row.radius for row in read_run(tmp_path / "one")]
