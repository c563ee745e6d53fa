"""Certifies a finished run again from its kept statistics: at another alpha, or from shards, without an encoder.

What the samples were is in the counts, so the certificates are those that certifying anew with the same samples gives.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import torch

from voxcert.data.identity import check_plan, read_plan
from voxcert.evaluation.certification.figures import plot_certified_accuracy
from voxcert.evaluation.certification.folder import (
    PLOT,
    read_prototypes,
    read_run,
    read_statistics,
    write_prototypes,
    write_statistics,
)
from voxcert.evaluation.certification.job import summarize_run
from voxcert.evaluation.certification.tables import default_radii
from voxcert.evaluation.run.folder import (
    CONFIG,
    PLAN,
    ROWS,
    comparable,
    read_config,
    read_summary,
    write_config,
    write_summary,
)
from voxcert.evaluation.run.lock import locked
from voxcert.rows import replace_file, replace_rows
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.outcome import recertify
from voxcert.smoothing.statistics import Statistics


def recertify_runs(
    runs: Sequence[str], output_dir: str, alpha: float | None = None, command: str = ""
) -> dict[str, Any]:
    """Certifies all utterances again.

    Args:
        runs: Folders of one run, or of several that drew shards of the same samples.
        output_dir: A new folder, which then looks like that of one run at this alpha.
        alpha: Error probability of one certificate; that of the runs by default. Its promise is for an alpha that was
            chosen without looking at the radii.
        command: The command line, for the summary.

    Returns:
        The summary that is in summary.json too.

    Raises:
        ValueError: If the folders are not of one finished run with kept statistics, or not of all its shards, once
            each; if alpha is not in (0, 1), or the output folder holds a run already.
    """
    if (Path(output_dir) / CONFIG).exists():
        raise ValueError(f"output_dir must be a new folder, got {output_dir}, which holds a run")
    config = _check_same(runs)
    alpha = config["alpha"] if alpha is None else alpha
    rows = [{row.key: row for row in read_run(run)} for run in runs]
    merged = {row.utterance: None for row in rows[0].values()}
    merged |= {utterance: _merged(runs, utterance) for utterance in _counted(rows[0].values())}
    again = [_again([of_run[key] for of_run in rows], merged[row.utterance], alpha) for key, row in rows[0].items()]
    config |= {"alpha": alpha, "output_dir": output_dir, "shard": 1, "num_shards": 1}
    with locked(output_dir):
        for utterance, statistics in merged.items():
            if statistics is not None:
                write_statistics(output_dir, utterance, statistics)
        write_prototypes(output_dir, *read_prototypes(runs[0]))
        replace_file(Path(output_dir) / PLAN, (Path(runs[0]) / PLAN).read_bytes())
        write_config(output_dir, config)
        replace_rows(Path(output_dir) / ROWS, again)
        found = read_summary(runs[0])
        summary = {
            "command": command,
            "settings": comparable(config),
            "checkpoint_hash": found["checkpoint_hash"],
            "num_speakers": found["num_speakers"],
            "num_made_up": found.get("num_made_up", 0),
            "versions": found["versions"],
            **summarize_run(again, config["radii"] or default_radii(config["sigma"])),
        }
        write_summary(output_dir, summary)
        plot_certified_accuracy(again, Path(output_dir) / PLOT)
    return summary


def _check_same(runs: Sequence[str]) -> dict[str, Any]:
    """The settings of the runs, once they are found to be one but for the shard."""
    configs = [read_config(run) for run in runs]
    for run, config in zip(runs, configs, strict=True):
        if config is None or not config.get("keep_statistics"):
            raise ValueError(f"runs must be folders of certifications with keep_statistics, got {run}")
        read_summary(run)  # which says so where a run is not finished
    first, prototypes = _shared(configs[0]), read_prototypes(runs[0])
    for run, config in zip(runs[1:], configs[1:], strict=True):
        other = _shared(config)
        differing = sorted(name for name in first.keys() | other.keys() if first.get(name) != other.get(name))
        if differing:
            raise ValueError(f"runs must share their settings, got {run} with another {', '.join(differing)}")
        check_plan(read_plan(Path(runs[0]) / PLAN), read_plan(Path(run) / PLAN), f"{run}, beside {runs[0]},")
        vectors, speakers = read_prototypes(run)
        if speakers != prototypes[1] or not torch.equal(vectors, prototypes[0]):
            raise ValueError(f"runs must have enrolled the same vectors, got others in {run} than in {runs[0]}")
    shards, num_shards = sorted(config["shard"] for config in configs), configs[0]["num_shards"]
    if shards != list(range(1, num_shards + 1)):
        raise ValueError(f"runs must be all shards of one run, 1 to {num_shards}, once each, got {shards}")
    return configs[0]


def _shared(config: dict[str, Any]) -> dict[str, Any]:
    """What shards have in common: what runs compare but for radii, which are asked for afterwards, and batches."""
    own = {name: value for name, value in comparable(config).items() if name not in ("shard", "radii")}
    return own | ({"batch_size": config["batch_size"]} if config["num_shards"] > 1 else {})


def _counted(rows: Iterable[Certificate]) -> set[str]:
    """Utterances with estimation samples, which the others, such as files that cannot be read, do not have."""
    return {row.utterance for row in rows if row.num_estimate > 0}


def _merged(runs: Sequence[str], utterance: str) -> Statistics:
    """The statistics of an utterance over all runs."""
    found = [read_statistics(run, utterance) for run in runs]
    for run, statistics in zip(runs, found, strict=True):
        if statistics is None:
            raise ValueError(f"runs must have kept the statistics of {utterance}, got {run} without them")
    return reduce(Statistics.merge, found)


def _again(rows: Sequence[Certificate], statistics: Statistics | None, alpha: float) -> Certificate:
    """One certificate from those of all shards, which spent their time apart."""
    row = replace(rows[0], alpha=alpha, seconds=sum(row.seconds for row in rows))
    return row if statistics is None else recertify(row, statistics)
