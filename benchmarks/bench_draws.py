"""How many noisy copies the deployed system draws before an answer is safe, on real speech.

Every recording of the data is asked who speaks; whether it is the true speaker, and whether another one; and, with a
threshold, who of one half of the speakers speaks, if anybody, and who of the other half. Counts are exact and do not
depend on the machine's speed; the noise is fresh, so they differ from call to call. The run is made by `certify.py`
(docs/deploy.md has the commands).
"""

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse import ArgumentParser
from tqdm import tqdm

from voxcert.data import SpeakerDataModule
from voxcert.deployment import SmoothedRecognizer
from voxcert.deployment.run import system_of_run


def answers(run: str, data: SpeakerDataModule, threshold: float) -> Iterator[dict[str, Any]]:
    """A record for every recording and question."""
    encoder, prototypes, speakers, settings = system_of_run(run, None, "auto")
    everybody = SmoothedRecognizer(encoder, prototypes, speakers, **settings)
    halves = [SmoothedRecognizer(encoder, prototypes[half::2], speakers[half::2], **settings) for half in (0, 1)]
    for item in tqdm(data.items("test"), "asking", unit="recording"):
        waveform, place = item["waveform"], speakers.index(item["speaker"])
        asked = {
            "identify": everybody.identify(waveform),
            "verify, the true speaker": everybody.verify(waveform, speakers[place], threshold),
            "verify, another speaker": everybody.verify(waveform, speakers[(place + 1) % len(speakers)], threshold),
            "identify with a threshold, an enrolled speaker": halves[place % 2].identify(waveform, threshold),
            "identify with a threshold, a stranger": halves[1 - place % 2].identify(waveform, threshold),
        }
        for question, answer in asked.items():
            abstained = answer.abstained is not None
            yield {"question": question, "num_forwards": answer.num_forwards, "abstained": abstained}


def summarize(records: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """For every question the median and the 90 % quantile of draws, their mean, and the share of abstentions."""
    questions = dict.fromkeys(record["question"] for record in records)
    summary = {}
    for question in questions:
        own = [record for record in records if record["question"] == question]
        draws = [record["num_forwards"] for record in own]
        summary[question] = {
            "recordings": len(own),
            "median": statistics.median(draws),
            "quantile_90": float(np.quantile(draws, 0.9)),
            "mean": statistics.fmean(draws),
            "abstained": statistics.fmean(record["abstained"] for record in own),
        }
    return summary


def main() -> None:
    """Measures, prints, and writes JSON."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=str, required=True, help="Output folder of `certify.py`.")
    parser.add_argument("--threshold", type=float, required=True, help="Of claims and of the open set.")
    parser.add_argument("--output", type=str, default="benchmarks/results/draws-cpu.json")
    parser.add_class_arguments(SpeakerDataModule, "data", sub_configs=True)
    config = parser.parse_args()
    data = parser.instantiate(config).data
    records = list(answers(config.run, data, config.threshold))
    summary = summarize(records)
    Path(config.output).write_text(json.dumps({"threshold": config.threshold, "questions": summary}, indent=1) + "\n")
    for question, entry in summary.items():
        print(f"{question}: " + ", ".join(f"{name} {value:g}" for name, value in entry.items()))


if __name__ == "__main__":
    main()
