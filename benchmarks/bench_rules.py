"""How many forwards each rule needs for the same average certified radius, and what a certificate costs beside them.

`forwards` certifies test utterances of a LibriSpeech folder with a growing number of samples until a rule reaches a
radius that the published rule (Korzh et al. 2024, as printed) can reach at all; what that one needs is computed from
its formula, with the margins that were measured, since it needs too many to draw. It also gives the radii of the rules
as they were with union bounds (`union_rules`) on the same samples. `overhead` times a certificate of
7,000 speakers with an encoder that costs nothing, and looks at the memory.
"""

import argparse
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import ndtri

from union_rules import union_distribution, union_mean
from voxcert.data import LibriSpeech, SpeakerDataModule
from voxcert.encoders.base import enroll
from voxcert.encoders.loading import load_encoder
from voxcert.smoothing.certifier import Certifier
from voxcert.smoothing.pilot import select
from voxcert.smoothing.rivals import Rivals
from voxcert.smoothing.rules import RULES
from voxcert.smoothing.sampler import ESTIMATE_START, NoisySampler
from voxcert.smoothing.statistics import Statistics
from voxcert.smoothing.tally import Tally

SIGMA, ALPHA, SELECT, BATCH, SOUND = 0.01, 1e-3, 100, 32, ("distribution", "vote", "mean", "lipschitz")
SIZES = [16, 24, 32, 48, 64, 96, 128, 192, 250, 384, 512, 768, 1000]
COMPARED = [250, 1000]
UNION = ("distribution", "mean")
CAMPPLUS_SECONDS = 0.06
"""A forward of CAM++ (7 M parameters) for 3 s of speech on one core."""


def embeddings(encoder: torch.nn.Module, waveform: torch.Tensor, utterance: str, num: int) -> torch.Tensor:
    """Selection and estimation samples of one utterance, (100 + num, dim) float64."""
    sampler = NoisySampler(waveform, SIGMA, 0, utterance)
    starts = [*range(0, SELECT, BATCH), *range(ESTIMATE_START, ESTIMATE_START + num, BATCH)]
    rows = torch.cat([encoder(sampler.batch(start, start + BATCH)).double() for start in starts])
    return torch.cat([rows[:SELECT], rows[-(-SELECT // BATCH) * BATCH :][:num]])


def statistics_of(rows: torch.Tensor, prototypes: torch.Tensor) -> Iterator[Statistics]:
    """Statistics of the first n estimation samples for every n in `SIZES`."""
    pilot = select(rows[:SELECT], prototypes, 64)
    for size in SIZES:
        tally = Tally(prototypes, pilot)
        tally.add(rows[SELECT : SELECT + size])
        yield tally.statistics(sigma=SIGMA, num_planned=size, num_looks=1, start=0)


@torch.inference_mode()
def forwards(root: str, checkpoint: str, num_utterances: int) -> dict:
    """Average certified radii in units of sigma by rule and number of samples, and the numbers for equal radii."""
    data = SpeakerDataModule(
        corpus=LibriSpeech(root=root),
        train_parts=["train-clean-100"],
        test_parts=["test-other"],
        num_enroll=5,
        crop_seconds=3,
    )
    encoder, items = load_encoder(checkpoint).eval(), data.items("test")
    recognizer = enroll(encoder, data.enrollment_dataloader("test"), sigma=SIGMA, num_noise=4)
    prototypes = torch.nn.functional.normalize(recognizer.prototypes.double())
    radii: dict[str, np.ndarray] = {rule: np.zeros((num_utterances, len(SIZES))) for rule in SOUND}
    old = {rule: np.zeros((num_utterances, len(COMPARED))) for rule in UNION}
    margins, spent, seconds = np.full(num_utterances, -1.0), 0, 0.0
    for index in range(num_utterances):
        item = items[index]
        start = time.process_time()
        rows = embeddings(encoder, item["waveform"], item["utterance"], SIZES[-1])
        seconds, spent = seconds + time.process_time() - start, spent + len(rows)
        for column, statistics in enumerate(statistics_of(rows, prototypes)):
            for rule in SOUND:
                winner = statistics.pilot.voted if rule == "vote" else statistics.pilot.predicted
                if recognizer.speakers[winner] == item["speaker"]:
                    radii[rule][index, column] = max(RULES[rule](statistics, ALPHA), 0.0) / SIGMA
        if recognizer.speakers[statistics.pilot.predicted] == item["speaker"]:
            runner_up = int(np.argmin(statistics.xi_mean * statistics.pilot.distances))
            margins[index] = statistics.xi_mean[runner_up]
            xi = Rivals(prototypes, statistics.pilot.predicted).xi(prototypes @ rows.T).T.numpy()
            for column, size in enumerate(COMPARED):
                chosen, fresh = xi[:SELECT], xi[SELECT : SELECT + size]
                old["distribution"][index, column] = union_distribution(chosen, fresh, ALPHA)
                old["mean"][index, column] = union_mean(fresh, ALPHA)
    limit, target = published(margins, np.inf), 0.95 * published(margins, np.inf)
    needed = {"published_mean": brentq(lambda n: published(margins, n) - target, 10.0, 1e9)}
    curves = {rule: values.mean(axis=0) for rule, values in radii.items()}
    for rule, curve in curves.items():
        enough = np.flatnonzero(curve >= target)
        needed[rule] = SIZES[enough[0]] if enough.size else None
    per_forward = seconds / spent
    return {
        "num_utterances": num_utterances,
        "num_speakers": len(prototypes),
        "acr_in_sigma": {
            rule: dict(zip(SIZES, np.round(curve, 4).tolist(), strict=True)) for rule, curve in curves.items()
        },
        "beside_union_rules": {rule: beside(old[rule], radii[rule]) for rule in UNION},
        "published_mean_limit_in_sigma": limit,
        "target_in_sigma": target,
        "estimation_forwards_needed": needed,
        "seconds_needed": {rule: None if n is None else (n + SELECT) * per_forward for rule, n in needed.items()},
        "published_mean_over_distribution": needed["published_mean"] / needed["distribution"],
    }


def beside(old: np.ndarray, new: np.ndarray) -> dict[int, dict[str, float | None]]:
    """Average radii, in units of sigma, of the union rule and ours by number of samples, and the least favourable one.

    Args:
        old: (utterances, `COMPARED`) radii of the union rule.
        new: (utterances, `SIZES`) ours.
    """
    new = new[:, [SIZES.index(size) for size in COMPARED]]
    result = {}
    for column, size in enumerate(COMPARED):
        before, after = old[:, column], new[:, column]
        ratios = after[before > 0] / before[before > 0]
        result[size] = {
            "union_rule": round(float(before.mean()), 4),
            "ours": round(float(after.mean()), 4),
            "ratio": round(float(after.mean() / before.mean()), 4) if before.any() else None,
            "smallest_ratio_of_an_utterance": round(float(ratios.min()), 4) if ratios.size else None,
        }
    return result


def published(margins: np.ndarray, n: float) -> float:
    """ACR of `published_mean`, in units of sigma, if the margins to the runner-up came out as measured."""
    lower = margins - 2.0 * np.sqrt(np.log(2.0 / ALPHA) / (2.0 * n))
    return float(ndtri((1.0 + np.maximum(lower, 0.0)) / 2.0).mean())


class FreeEncoder:
    """Embeddings near the first prototype that move by 0.02 with the noise, and the time that is spent on them."""

    def __init__(self, prototypes: torch.Tensor) -> None:
        self.center, self.seconds = 0.6 * prototypes[0] + 0.3 * prototypes[1], 0.0

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
        """Embeddings (batch, dim)."""
        start = time.process_time()
        moved = self.center + waveform[:, : len(self.center)] * (0.02 / SIGMA)
        result = torch.nn.functional.normalize(moved, dim=1)
        self.seconds += time.process_time() - start
        return result


def overhead(num_estimate: int, num_speakers: int) -> dict:
    """Seconds outside the encoder per forward, as a share of a CAM++ forward, and the peak of the process's memory."""
    generator = torch.Generator().manual_seed(0)
    prototypes = torch.nn.functional.normalize(torch.randn(num_speakers, 192, generator=generator), dim=1)
    encoder = FreeEncoder(prototypes)
    options = {"num_estimate": num_estimate, "rules": SOUND, "batch_size": BATCH}
    certifier = Certifier(encoder, prototypes, sigma=SIGMA, **options)
    start = time.process_time()
    rows, statistics = certifier.examine(torch.zeros(48_000), "u")
    outside = time.process_time() - start - encoder.seconds
    clock = time.process_time()
    for rule in SOUND:
        RULES[rule](statistics, ALPHA)
    return {
        "num_speakers": num_speakers,
        "num_estimate": num_estimate,
        "radii_in_sigma": {row.rule: row.radius / SIGMA for row in rows},
        "seconds_outside": outside,
        "seconds_of_the_rules": time.process_time() - clock,
        "share_of_campplus": outside / (rows[0].num_forwards * CAMPPLUS_SECONDS),
        "bytes_of_statistics": sum(
            value.nbytes for value in vars(statistics).values() if isinstance(value, np.ndarray)
        ),
        "peak_megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    """Measures, prints JSON and keeps it in benchmarks/results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", help="LibriSpeech folder; without it only the overhead is measured")
    parser.add_argument("--checkpoint", default="checkpoints/ecapa-mini")
    parser.add_argument("--num_utterances", type=int, default=50)
    parser.add_argument("--num_speakers", type=int, default=7000)
    parser.add_argument("--num_estimate", type=int, nargs="+", default=[1000, 10_000])
    options = parser.parse_args()
    result = {"device": f"cpu, {torch.get_num_threads()} threads", "sigma": SIGMA, "alpha": ALPHA}
    result["overhead"] = [overhead(num, options.num_speakers) for num in options.num_estimate]
    if options.root:
        result["forwards"] = forwards(options.root, options.checkpoint, options.num_utterances)
    text = json.dumps(result, indent=2)
    target = Path(__file__).parent / "results" / "rules-cpu.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
