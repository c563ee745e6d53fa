"""The comparison of defences: verification trials against every one, genuine, attacked unknowing, attacked knowing it.

Tables 1 to 3 of the TDAP paper (Chen et al. 2024) attack the encoder without a defence; the adaptive attacks,
which that paper leaves out, follow Athalye et al. 2018 and Tramer et al. 2020.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn
from tqdm import tqdm

from voxcert.attacks import Attack
from voxcert.evaluation.attack.description import check_hash, describe_attack
from voxcert.evaluation.attack.trials import Trial, plan_trials
from voxcert.evaluation.defence.bench import Batch, Bench
from voxcert.evaluation.defence.figures import DEFENCES_PLOT, plot_defences
from voxcert.evaluation.defence.row import DefenceRow
from voxcert.evaluation.defence.settings import GENUINE, Defence, DefenceSettings, check_comparison, check_texts
from voxcert.evaluation.defence.system import DefendedSystem, Words
from voxcert.evaluation.defence.tables import render_defences, summarize_defences
from voxcert.evaluation.run.folder import ROWS, comparable, read_config, write_config, write_summary
from voxcert.evaluation.run.job import UNKNOWN, Provenance, SpeakerData, Task, do_tasks, started
from voxcert.evaluation.run.processes import at_hand
from voxcert.purifiers.hearing import Aud2Vec, words_hash
from voxcert.purifiers.text import TextEmbedder
from voxcert.rows import read_rows
from voxcert.smoothing.devices import device_name

TABLES = "tables.md"


def compare_defences(
    encoder: nn.Module,
    data: SpeakerData,
    defences: Sequence[Defence],
    attacks: dict[str, Attack],
    settings: DefenceSettings,
    provenance: Provenance = UNKNOWN,
    *,
    text_embedder: TextEmbedder | None = None,
    listener: Aud2Vec | None = None,
) -> dict[str, Any]:
    """Sets every test utterance of `data` against its own speaker and another, behind every defence.

    Batches that `settings.output_dir` has already are skipped, so a run that was killed is continued by the same call.
    Attacks on the encoder without a defence are made once, for all defences, and kept.

    Args:
        encoder: Waveform (batch, time) -> unit embedding (batch, dim), in eval mode.
        data: Enrolment batches and test items, all of one length.
        defences: What to compare with each other, and with no defence.
        attacks: Name -> any attack of `voxcert.attacks` with a budget, its settings bound.
        settings: How to measure.
        provenance: Hash of the encoder, and what made it, the data, the defences and the attacks.
        text_embedder: For defences that read.
        listener: For defences that listen.

    Returns:
        The summary that is in summary.json too.

    Raises:
        ValueError: If the folder holds a run with other settings, data or weights (the message names them), or the
            comparison cannot be made.
    """
    check_comparison(defences, attacks, text_embedder is not None, listener is not None)
    provenance = provenance.of(encoder)
    settings = replace(settings, attack_hash=check_hash(settings.attack_hash, *attacks.values()))
    words_from = words_hash(text_embedder, None if listener is None else listener.transcriber)
    if settings.words_hash not in (None, words_from):
        raise ValueError(f"words_hash must be {settings.words_hash}, got {words_from}")
    settings = replace(settings, words_hash=words_from)
    config = {"defences": [{"name": one.name, "text": one.text} for one in defences]}  # weights are in the rows
    config |= {"attacks": {name: describe_attack(attack) for name, attack in attacks.items()}}
    config |= provenance.config(settings)
    config |= {"accelerator": at_hand(settings.accelerator)}
    plan = data.plan("test", texts=any(one.text in ("transcript", "wrong") for one in defences))
    with started(settings.output_dir, config, plan, settings.accelerator) as fabric:
        device = fabric.device
        encoder, items = encoder.to(device).eval(), data.items("test")
        listener = None if listener is None else listener.to(device)
        readings = tqdm(range(len(items)), "reading", unit="utterance", leave=False)
        known = {item["utterance"]: item for item in (items[index] for index in readings)}
        texts = {name: item.get("text", "") for name, item in known.items()}
        check_texts(defences, [texts[name] for name, item in known.items() if "error" not in item])
        words = Words(texts, text_embedder, listener, settings.seed)
        encoder_id = provenance.encoder_id
        systems = [DefendedSystem(one, encoder, words, settings, device, encoder_id) for one in (None, *defences)]
        write_config(settings.output_dir, config)
        _check_weights(settings.output_dir, systems)
        for system in tqdm(systems, "enrolling", unit="defence", leave=False):
            system.enroll(data.enrollment_dataloader("test"))
        bare = systems[0]
        batches = _batches(systems, attacks, _trials(known, bare.speakers, settings), settings)
        rows = do_tasks(
            [Task(batch, batch.keys) for batch in batches],
            Bench(bare, attacks, known, settings).rows,
            DefenceRow,
            settings.output_dir,
            fabric,
            verb="defending",
            unit="batch",
            note=lambda batch, rows: f"{batch.system.name}: {batch.condition}{', adaptive' * batch.adaptive}",
        )
        summary = {
            "command": provenance.command,
            "settings": comparable(config),
            "checkpoint_hash": encoder_id,
            "num_speakers": len(bare.speakers),
            "defences": summarize_defences(rows),
            "timing": {"seconds": sum(row.seconds for row in rows), "device": device_name(device)},
        }
        write_summary(settings.output_dir, summary)
        (Path(settings.output_dir) / TABLES).write_text(render_defences(summary["defences"]) + "\n")
        plot_defences(summary["defences"], settings.output_dir)
        return summary


def is_comparison(folder: str | Path) -> bool:
    """Whether a folder is that of a comparison of defences; ValueError if its config cannot be read."""
    return "defences" in (read_config(folder) or {})


def describe_comparison(folder: str | Path) -> str:
    """The tables of a comparison, finished or not, from its rows alone; the pictures are drawn again.

    Raises:
        ValueError: If there are no rows.
    """
    rows = read_rows(Path(folder) / ROWS, DefenceRow)
    if not rows:
        raise ValueError(f"runs must be folders with rows, got the comparison {folder} without any")
    entries = summarize_defences(rows)
    plot_defences(entries, folder)
    return f"{render_defences(entries)}\n\n{Path(folder) / DEFENCES_PLOT}"


def _check_weights(folder: str, systems: Sequence[DefendedSystem]) -> None:
    """Refuses a folder whose rows are about other weights under the names of these systems."""
    now = {system.name: system.id for system in systems}
    for row in read_rows(Path(folder) / ROWS, DefenceRow):
        if now.get(row.defence, row.system) != row.system:
            raise ValueError(
                f"output_dir {folder} holds a run with other weights: {row.defence} is {row.system} there, "
                f"got {now[row.defence]}"
            )


def _trials(items: dict[str, Any], speakers: list[str], settings: DefenceSettings) -> list[list[Trial]]:
    """Batches of trials, each of true claims or of false ones: one of either kind for every utterance."""
    named, size = [(name, item["speaker"]) for name, item in items.items()], settings.trials_per_batch
    batches = []
    for targeted in (False, True):
        trials = plan_trials(named, speakers, scenario="sv", targeted=targeted, seed=settings.seed)
        batches += [trials[start : start + size] for start in range(0, len(trials), size)]
    return batches


def _batches(
    systems: Sequence[DefendedSystem], attacks: dict[str, Attack], trials: list[list[Trial]], settings: DefenceSettings
) -> list[Batch]:
    """The cheap conditions of all defences first, then the adaptive attacks."""
    first = [(system, condition, False) for system in systems for condition in (GENUINE, *attacks)]
    then = [(system, name, True) for system in systems for name in attacks if system.purifier is not None]
    return [Batch(*about, tuple(some)) for about in first + then * settings.adaptive for some in trials]
