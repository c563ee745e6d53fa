"""One process against two, a slow process that holds nobody up, memory that does not grow, a million rows.

The device of a process is played by a pause, so that two processes do not fight for the cores of one machine: what is
measured is what sharing out costs, and not how many cores there are.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from voxcert.evaluation.certification.figures import plot_certified_accuracy
from voxcert.evaluation.certification.folder import PLOT
from voxcert.evaluation.certification.job import summarize_run
from voxcert.evaluation.certification.tables import statement
from voxcert.evaluation.run.job import Task, do_tasks
from voxcert.evaluation.run.processes import launch
from voxcert.evaluation.run.tasks import merge_rows, rows_path
from voxcert.rows import Row, RowWriter, replace_rows
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.certifier import Certifier

RULES = ("distribution", "mean", "lipschitz", "vote")
TIME = 16_000


def certificate(number: int, rule: str = "vote", seconds: float = 0.0) -> Certificate:
    """A row that is made up; a tenth abstains."""
    return Certificate(
        utterance=f"speaker{number % 5000}/recording-{number}",
        speaker=f"speaker{number % 5000}",
        prediction=f"speaker{number % 5000}",
        rule=rule,
        radius=0.0 if number % 10 == 0 else 0.01 + (number % 997) / 1e5,
        abstained="lower bound not positive" if number % 10 == 0 else None,
        point_radius=0.02 + (number % 997) / 1e5,
        sigma=0.01,
        alpha=1e-3,
        num_select=100,
        num_estimate=1000,
        num_forwards=1100,
        seconds=seconds,
        seed=0,
        encoder="0123456789abcdef",
        waveform_norm=12.5,
        num_samples=48_000,
        snr_db=None if number % 10 == 0 else 55.0,
        radius_rms=5e-5,
    )


def pauses(folder: str, devices: int, num_tasks: int, pause: float, slowdown: float, way: str) -> None:
    """Does tasks that take `pause` seconds each, `slowdown` times as long in the last process; prints the seconds."""
    fabric = launch("cpu", devices, 1)
    slow = slowdown if fabric.global_rank == devices - 1 else 1.0

    def do(number: int) -> list[Row]:
        time.sleep(pause * slow)
        return [certificate(number)]

    tasks = [Task(number, (certificate(number).key,)) for number in range(num_tasks)]
    fabric.barrier()
    start = time.perf_counter()
    if way == "one by one":
        do_tasks(tasks, do, Certificate, folder, fabric, verb="pausing", unit="task")
    else:  # the fixed stride: every world_size-th task
        with RowWriter(rows_path(folder, fabric.global_rank)) as writer:
            for task in tasks[fabric.global_rank :: devices]:
                writer.write(do(task.about))
        fabric.barrier()
    if fabric.is_global_zero:
        print(time.perf_counter() - start)


def certify(num_estimate: int) -> None:
    """Certifies one waveform with a small encoder; prints the largest memory in bytes and how far it grew."""
    weight = torch.randn(TIME, 8, generator=torch.Generator().manual_seed(0))
    prototypes = F.normalize(torch.randn(5, 8, generator=torch.Generator().manual_seed(1)), dim=1)

    def encoder(waveform: torch.Tensor) -> torch.Tensor:
        return F.normalize(waveform @ weight, dim=1)

    options = {"num_estimate": num_estimate, "batch_size": 64, "rules": RULES}
    Certifier(encoder, prototypes, sigma=0.01, **options).certify(0.1 * torch.randn(TIME))
    print(memory())


def million(num_rows: int) -> None:
    """Merges rows that four processes left behind, summarises and draws them; prints processor seconds and memory."""
    at_first = memory()
    with tempfile.TemporaryDirectory() as folder:
        for rank in range(4):
            numbers = range(rank, num_rows, 4)
            replace_rows(rows_path(folder, rank), (certificate(number, seconds=1.0) for number in numbers))
        tasks = [Task(number, (certificate(number).key,)) for number in range(num_rows)]
        before, start = memory(), time.process_time()
        rows = merge_rows(folder, Certificate, tasks, counts=lambda row: True)
        merged = time.process_time()
        summarize_run(rows, [0.0, 0.005, 0.01])
        plot_certified_accuracy(rows, Path(folder) / PLOT)
        statement(rows, num_rows)
        print(json.dumps([merged - start, time.process_time() - merged, at_first, before, memory()]))


def memory() -> int:
    """Bytes of this process at its largest."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def call(*arguments: object) -> object:
    """What a fresh process of this file prints last."""
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def timed(devices: int, options: argparse.Namespace, slowdown: float = 1.0, way: str = "one by one") -> float:
    """Seconds of the pauses in a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        return call("pauses", folder, devices, options.num_tasks, options.pause, slowdown, way)


def sharing(options: argparse.Namespace) -> dict[str, object]:
    """How long tasks take that are handed out to one process and to two, one of them slow."""
    work = options.num_tasks * options.pause
    seconds = {
        "one process": timed(1, options),
        "two": timed(2, options),
        "two, one of them four times as slow": timed(2, options, 4.0),
        "the same by a fixed stride": timed(2, options, 4.0, "stride"),
    }
    ideal = {"one process": work, "two": work / 2, "two, one of them four times as slow": work / 1.25}
    ideal["the same by a fixed stride"] = ideal["two, one of them four times as slow"]
    return {
        "num_tasks": options.num_tasks,
        "pause_seconds": options.pause,
        "load": os.getloadavg()[0],
        "seconds": seconds,
        "over_ideal": {name: taken / ideal[name] for name, taken in seconds.items()},
    }


def copies(options: argparse.Namespace) -> dict[str, object]:
    """How memory depends on the number of noisy copies."""
    grown = {num: call("certify", num) for num in (1_000, 100_000)}
    return {"memory_bytes": grown, "memory_ratio": grown[100_000] / grown[1_000]}


def many(options: argparse.Namespace) -> dict[str, object]:
    """What very many rows cost in the end."""
    merging, summarising, at_first, with_plan, after = call("million", options.num_rows)
    return {
        "num_rows": options.num_rows,
        "merge_seconds": merging,
        "summary_seconds": summarising,
        "memory_at_first_bytes": at_first,
        "memory_with_plan_bytes": with_plan,
        "memory_bytes": after,
    }


PARTS = {"sharing": sharing, "copies": copies, "rows": many}


def main() -> None:
    """Measures all or some, and writes JSON; what is not measured stays in the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_tasks", type=int, default=80)
    parser.add_argument("--pause", type=float, default=0.5)
    parser.add_argument("--num_rows", type=int, default=1_000_000)
    parser.add_argument("--only", choices=PARTS, help="measure this alone")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/scaling-cpu.json"))
    options = parser.parse_args()
    results = json.loads(options.output.read_text()) if options.output.exists() else {}
    for name, part in PARTS.items():
        if options.only in (None, name):
            results[name] = part(options)
            options.output.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["pauses", folder, devices, num_tasks, pause, slowdown, way]:
            pauses(folder, int(devices), int(num_tasks), float(pause), float(slowdown), way)
        case ["certify", num_estimate]:
            certify(int(num_estimate))
        case ["million", num_rows]:
            million(int(num_rows))
        case _:
            main()
