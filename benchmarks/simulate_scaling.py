"""The cost model of docs/scaling.md against a simulation: stragglers, processes that die, and who is given which task.

A simulation of discrete events, seeded: durations of tasks are log-normal, some processes are slower than others, and
nodes fail at random; whoever starts the job again loses the tasks at hand and the time of a start.
"""

import argparse
import heapq
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Job:
    """What is to be done, and by whom.

    Args:
        num_tasks: Utterances.
        seconds: Mean of a task in a process of speed 1.
        spread: Standard deviation of the logarithm of a task's seconds; early stopping spreads them.
        num_processes: Processes.
        slow_share: Share of processes that are slow.
        slowdown: How many times as long they take.
        mean_hours: Between two failures of one process.
        start_seconds: From a failure to the first task of the run that goes on.
    """

    num_tasks: int
    seconds: float = 2.0
    spread: float = 0.5
    num_processes: int = 64
    slow_share: float = 0.05
    slowdown: float = 4.0
    mean_hours: float = 2000.0
    start_seconds: float = 120.0

    @property
    def slowness(self) -> np.ndarray:
        """How many times as long each process takes, (num_processes,)."""
        slow = math.ceil(self.slow_share * self.num_processes) if self.slow_share else 0
        return np.where(np.arange(self.num_processes) < slow, self.slowdown, 1.0)

    @property
    def failures_per_second(self) -> float:
        """Of all processes; one failure stops the job."""
        return self.num_processes / (3600.0 * self.mean_hours)


def durations(job: Job, generator: np.random.Generator) -> np.ndarray:
    """Seconds of every task at speed 1, with the mean that the job says."""
    return generator.lognormal(math.log(job.seconds) - job.spread**2 / 2, job.spread, job.num_tasks)


def model(job: Job) -> float:
    """Seconds of a job whose tasks are handed out one by one, by arithmetic.

    Work over speed, half of the longest wait at the end, and what failures cost: a start, and half a task each.
    """
    speed = (1.0 / job.slowness).sum()
    work = job.num_tasks * job.seconds / speed + job.seconds * job.slowness.max() / 2
    lost = job.failures_per_second * (job.start_seconds + job.seconds / 2)
    return job.start_seconds + work / (1.0 - lost)


def one_by_one(job: Job, seed: int) -> float:
    """Seconds of the same job, simulated."""
    generator = np.random.default_rng(seed)
    todo = durations(job, generator).tolist()
    slowness, now = job.slowness.tolist(), job.start_seconds
    failure = now + generator.exponential(1.0 / job.failures_per_second)
    while todo:
        free = [(now, rank, 0.0) for rank in range(job.num_processes)]  # when, who, and the task that it ends with
        end = now
        while todo and free[0][0] <= failure:
            start, rank, _ = free[0]
            task = todo.pop()
            heapq.heapreplace(free, (start + task * slowness[rank], rank, task))
        end = max(time for time, _, _ in free)
        if end <= failure:
            return end
        todo += [task for time, _, task in free if time > failure]
        now = failure + job.start_seconds
        failure = now + generator.exponential(1.0 / job.failures_per_second)
    return end


def fixed_stride(job: Job, seed: int) -> float:
    """Seconds when every process has its share from the beginning, and none fails."""
    tasks = durations(job, np.random.default_rng(seed))
    shares = [tasks[rank :: job.num_processes].sum() for rank in range(job.num_processes)]
    return job.start_seconds + float((np.array(shares) * job.slowness).max())


def main() -> None:
    """Compares 10^3 to 10^7 utterances, prints a table and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--largest", type=int, default=7, help="exponent of ten")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/scaling-model.json"))
    options = parser.parse_args()
    results = []
    for exponent in range(3, options.largest + 1):
        job = Job(10**exponent)
        simulated = [one_by_one(job, seed) for seed in range(options.seeds)]
        strided = [fixed_stride(job, seed) for seed in range(options.seeds)]
        results.append(
            {
                "num_tasks": job.num_tasks,
                "model_seconds": model(job),
                "simulated_seconds": simulated,
                "model_over_simulated": model(job) / float(np.mean(simulated)),
                "fixed_stride_over_simulated": float(np.mean(strided) / np.mean(simulated)),
            }
        )
        print(json.dumps(results[-1]), flush=True)
    options.output.write_text(json.dumps({"job": asdict(Job(0)), "sizes": results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
