"""`voxcert serve` under load: many clients at once, and every answer held against the library's own.

The service is given a seed, so the answer to its k-th call about a recording is known: the library gives it alone. Each
answer must be that of one call, no two of the same one, and all calls must be there: none wrong, none lost.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from voxcert.data.audio import load
from voxcert.deployment import SmoothedRecognizer
from voxcert.deployment.answers import public

SEED = 0
TOKEN = "a-token-of-the-benchmark"
CALL = "import sys; from voxcert.cli import main; main(sys.argv[1:])"


@contextmanager
def service(run: str | Path, threads: int) -> Iterator[str]:
    """Serves a run with a seed, on a free port; yields its address, and ends it by SIGTERM."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--port", port, "--seed", SEED, "--threads", threads, "--database", ":memory:"]
    command = [sys.executable, "-c", CALL, "serve", *map(str, [run, *options])]
    output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=os.environ | {"VOXCERT_TOKEN": TOKEN}, **output) as process:
        address = f"http://127.0.0.1:{port}"
        try:
            while process.poll() is None:
                try:
                    httpx.get(f"{address}/health").raise_for_status()
                    break
                except httpx.ConnectError:
                    time.sleep(0.2)
            yield address
        finally:
            process.terminate()


def load_of(address: str, contents: list[bytes], clients: int, seconds: float) -> list[tuple[int, dict, float]]:
    """What so many clients are answered in so many seconds: which recording, the answer, and how long it took."""
    answers, end = [], time.perf_counter() + seconds

    def ask(number: int) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=address, headers=headers, timeout=600) as client:
            turn = number
            while (start := time.perf_counter()) < end:
                index = turn % len(contents)
                answer = client.post("/identify", content=contents[index])
                answers.append((index, answer.raise_for_status().json(), time.perf_counter() - start))
                turn += 1

    failures: list[BaseException] = []

    def careful(number: int) -> None:
        try:
            ask(number)
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=careful, args=(number,)) for number in range(clients)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise RuntimeError(f"{len(failures)} of {clients} clients failed: {failures[0]!r}") from failures[0]
    return answers


def calls_of(run: str | Path, recordings: list[Path], answers: list[tuple[int, dict, float]]) -> list[int]:
    """Which call the library gives each answer at.

    Raises:
        ValueError: If an answer is at no call the library's.
    """
    library = {}
    for index, path in enumerate(recordings):
        recognizer, waveform = SmoothedRecognizer.from_run(run, seed=SEED), load(path)
        for call in range(len(answers)):
            library[index, json.dumps(public(recognizer.identify(waveform)))] = call
    wrong = [answer for index, answer, _ in answers if (index, json.dumps(answer)) not in library]
    if wrong:
        raise ValueError(f"{len(wrong)} of {len(answers)} answers are not the library's, such as {wrong[0]}")
    return [library[index, json.dumps(answer)] for index, answer, _ in answers]


def measure(run: str | Path, recordings: list[Path], clients: int, seconds: float, threads: int = 2) -> dict:
    """Loads the service, and compares.

    Returns:
        Counts, and seconds per answer.

    Raises:
        RuntimeError: If a client was not answered.
        ValueError: If an answer is not the library's, or one is lost.
    """
    with service(run, threads) as address:
        answers = load_of(address, [path.read_bytes() for path in recordings], clients, seconds)
    calls = calls_of(run, recordings, answers)
    if sorted(calls) != list(range(len(calls))):
        raise ValueError(f"{len(calls)} answers must be those of as many calls, got {len(set(calls))} different ones")
    times = sorted(taken for *_, taken in answers)
    named = Counter(answer["prediction"] is not None for _, answer, _ in answers)
    return {
        "clients": clients,
        "seconds": seconds,
        "threads": threads,
        "answers": len(answers),
        "answers equal to the library's": len(calls),
        "abstentions": named[False],
        "median noisy copies": statistics.median(answer["num_forwards"] for _, answer, _ in answers),
        "median seconds": round(statistics.median(times), 3),
        "95 % within seconds": round(times[int(0.95 * (len(times) - 1))], 3),
    }


def main() -> None:
    """Measures and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("run", help="output folder of certify")
    parser.add_argument("recordings", type=Path, nargs="+", help="audio files; two or three, each is compared in full")
    parser.add_argument("--clients", type=int, default=50, help="who asks at the same time")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the load")
    parser.add_argument("--threads", type=int, default=2, help="of the service")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/service-cpu.json"))
    options = parser.parse_args()
    results = measure(options.run, options.recordings, options.clients, options.seconds, options.threads)
    print(results)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=2) + "\n")
    print(f"{options.output} is written.")


if __name__ == "__main__":
    main()
