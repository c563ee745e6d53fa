"""Tables of noise at a representation, beside those of O'Reilly ("Towards Certified Adversarial Robustness").

Intervals are over speakers. The published numbers are about 300 recordings of 10 speakers and 10,000 noisy copies.
"""

import math
from collections.abc import Sequence
from statistics import fmean

from representation_statistics import RepresentationRow
from scipy.special import ndtri

from voxcert.evaluation.certification.tables import summarize
from voxcert.evaluation.metrics.detection import speaker_interval_of_mean
from voxcert.evaluation.show.tables import certified_share, render_table
from voxcert.smoothing.certificate import Certificate

RADII = (0.01, 0.05, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
PRINTED: dict[tuple[str, float], tuple[float, ...]] = {
    ("features", 0.01): (0.98, 0, 0, 0, 0, 0, 0, 0),
    ("features", 0.05): (0.99, 0.99, 0, 0, 0, 0, 0, 0),
    ("features", 0.1): (0.99, 0.97, 0.84, 0, 0, 0, 0, 0),
    ("features", 0.25): (0.91, 0.89, 0.80, 0.63, 0.36, 0, 0, 0),
    ("features", 0.5): (0.76, 0.75, 0.66, 0.55, 0.42, 0.29, 0.16, 0.08),
    ("magnitude", 0.01): (0.93, 0, 0, 0, 0, 0, 0, 0),
    ("magnitude", 0.05): (0.86, 0.79, 0, 0, 0, 0, 0, 0),
    ("magnitude", 0.1): (0.73, 0.68, 0.39, 0, 0, 0, 0, 0),
    ("magnitude", 0.25): (0.36, 0.35, 0.25, 0.11, 0.04, 0, 0, 0),
    ("magnitude", 0.5): (0.13, 0.13, 0.12, 0.11, 0.09, 0.08, 0.06, 0.04),
}
"""Where noise enters and its sigma -> certified accuracy by votes at each of the radii."""

UNITS = {"features": 13.35}
"""What counts as 1: his mel energies have unit variance, those of `ecapa-mini` a deviation of so many dB."""
NAMES = {"waveform": "waveform", "features": "mel energies", "magnitude": "magnitudes"}

LARGEST: dict[float, tuple[float, float, float]] = {
    0.01: (0.025, 0.032, 0.038),
    0.05: (0.123, 0.160, 0.191),
    0.1: (0.246, 0.320, 0.381),
    0.25: (0.616, 0.800, 0.953),
    0.5: (1.232, 1.160, 1.906),
    1.0: (2.463, 3.320, 3.811),
    2.0: (4.923, 6.400, 7.623),
    3.0: (7.390, 9.600, 11.434),
}
"""sigma -> the largest radius with each of `COPIES`, as printed."""
COPIES = 1_000, 10_000, 100_000


def largest_radius(sigma: float, copies: int, alpha: float = 1e-3) -> float:
    """What no radius of votes of so many copies passes: sigma Phi^-1(alpha^(1/n))."""
    return sigma * ndtri(alpha ** (1 / copies))


def largest_radii() -> str:
    """A line for each sigma: the largest radius with each of `COPIES`, his and ours."""
    lines = [["sigma", *(f"{copies:,} copies: paper / here" for copies in COPIES)]]
    for sigma, printed in LARGEST.items():
        radii = [largest_radius(sigma, copies) for copies in COPIES]
        lines.append([f"{sigma:g}", *(f"{one:.3f} / {radius:.4f}" for one, radius in zip(printed, radii, strict=True))])
    return render_table(lines)


def beside_oreilly(runs: Sequence[Sequence[Certificate]]) -> str:
    """A line for each run: certified accuracy by votes at the published radii, the published one and ours.

    A dash stands where no radius can be: so few copies cannot show it.

    Args:
        runs: Rows of one sigma each.
    """
    lines = [["noise at", "sigma", *(f"CA at {radius:g}: paper / here" for radius in RADII)]]
    lines[0] += ["copies", "utterances (speakers)"]
    for rows in runs:
        rows = [row for row in rows if row.rule == "vote"]
        first, unit = rows[0], UNITS.get(rows[0].noise_at, 1.0)
        sigma, largest = first.sigma / unit, largest_radius(first.sigma, first.num_estimate, first.alpha)
        printed = PRINTED.get((first.noise_at, round(sigma, 2)), (None,) * len(RADII))
        points = summarize(rows, [unit * radius for radius in RADII])["vote"]["certified_accuracy"]
        lines.append([NAMES[first.noise_at], f"{sigma:.2f}" + (f" ({first.sigma:g} dB)" if unit != 1 else "")])
        for number, point in zip(printed, points, strict=True):
            ours = certified_share(point["value"], point["low_speakers"], point["high_speakers"])
            before = "" if number is None else f"{number} / "
            lines[-1].append(before + (ours if point["radius"] < largest else "-"))
        lines[-1] += [f"{first.num_estimate}", f"{len(rows)} ({len({row.speaker for row in rows})})"]
    return render_table(lines)


SPREAD: dict[str, tuple[int, float, float, float, float, float, float]] = {
    "waveform": (25000, -0.989, 0.985, -0.199, 0.197, -2.278e-5, 0.062),
    "magnitude": (41120, 0, 76.949, 0, 2.186, 0.170, 0.491),
    "features": (10240, -3.668, 7.934, -0.848, 4.630, -1.982e-11, 1.0),
}
"""Where noise enters -> how many numbers, the smallest, the largest, 1st and 99th percentile, mean and deviation."""


def spread_beside_oreilly(rows: Sequence[RepresentationRow]) -> str:
    """A line for each place where noise may enter: how large the numbers there are, his and ours.

    The ends of the range are those of all recordings; percentiles are means of those of each recording. The interval of
    the deviation is that of the mean square about the mean of all.

    Args:
        rows: With as many numbers of each recording.
    """
    headings = ("numbers", "range", "1st percentile", "99th percentile", "mean", "deviation")
    lines = [["noise at", *(f"{heading}: paper / here" for heading in headings)]]
    for at in dict.fromkeys(row.noise_at for row in rows):
        own = [row for row in rows if row.noise_at == at]
        speakers = [row.speaker for row in own]
        size, smallest, largest, *printed, deviation = SPREAD[at]
        average = fmean(row.mean for row in own)
        spread = [row.mean_square - 2 * average * row.mean + average**2 for row in own]
        lines.append([NAMES[at], f"{size:,} / {own[0].size:,}"])
        ends = min(row.smallest for row in own), max(row.largest for row in own)
        lines[-1].append(f"{smallest:g} to {largest:g} / {ends[0]:.3g} to {ends[1]:.3g}")
        for number, name in zip(printed, ("low", "high", "mean"), strict=True):
            values = [getattr(row, name) for row in own]
            interval = fmean(values), *speaker_interval_of_mean(values, speakers)
            lines[-1].append(f"{number:g} / " + "{:.3g} [{:.3g}, {:.3g}]".format(*interval))
        interval = map(math.sqrt, (fmean(spread), *speaker_interval_of_mean(spread, speakers)))
        lines[-1].append(f"{deviation:g} / " + "{:.3g} [{:.3g}, {:.3g}]".format(*interval))
    return render_table(lines)
