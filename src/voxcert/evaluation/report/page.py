"""Puts a page together: one HTML file that needs no other file and no network, from the rows of any runs.

Figures are drawn in the browser by Observable Plot on D3, which are part of the page (`vendor`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from voxcert.data.audio import AudioError
from voxcert.evaluation.attack.certified_trials import attacked_trials
from voxcert.evaluation.attack.comparison import attacked_claims
from voxcert.evaluation.attack.robust_accuracy import attacked_certificates, broken_certificates
from voxcert.evaluation.certification.comparison import system_name
from voxcert.evaluation.certification.tables import by_rule, is_guarantee, statement
from voxcert.evaluation.report import budgets, figures, tables
from voxcert.evaluation.report.hearing import margins_table, measured_margins
from voxcert.evaluation.report.runs import Folder, Run, open_runs
from voxcert.evaluation.report.sound import Example, examples
from voxcert.evaluation.show.tables import rounded_down
from voxcert.evaluation.verification.tables import summarize_trials, trials_statement
from voxcert.rows import replace_file
from voxcert.smoothing.certified_score import CertifiedScore

TEMPLATES = Environment(
    loader=PackageLoader("voxcert.evaluation.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ONE_KIND = "Nothing was proved so far: error rates need genuine and impostor trials, and one kind is still missing."
SCRIPTS = ("vendor/d3.min.js", "vendor/plot.umd.min.js")


@dataclass(frozen=True)
class Finding:
    """A sentence about a run.

    Attributes:
        name: Of the run.
        text: The sentence.
        good: Whether it says that something holds; False where nothing was proved, or a certificate was broken.
    """

    name: str
    text: str
    good: bool = True


def write_report(folders: Sequence[Folder], output: Folder, *, title: str | None = None, sounds: bool = True) -> Path:
    """Writes a page about runs, finished or not; several are compared.

    Args:
        folders: Of `certify.py` (any task) and `voxcert attack`, at least one.
        output: The HTML file; its folder is made.
        title: Of the page; the systems by default.
        sounds: Whether the page holds recordings, to be played; without, it can go where voices may not.

    Returns:
        The file.

    Raises:
        ValueError: If there is no run, a folder holds no rows of such a run, or attacks on claims that one of them
            certified differ in their threshold.
    """
    runs, output = open_runs(folders), Path(output)
    replace_file(output, render_report(runs, title=title, sounds=sounds))
    return output


def render_report(runs: Sequence[Run], *, title: str | None = None, sounds: bool = True) -> str:
    """The page about runs as text.

    Args:
        runs: At least one.
        title: Of the page; the systems by default.
        sounds: Whether the page holds recordings, to be played.
    """
    certified = [run for run in runs if run.task == "identification"]
    trials = [run for run in runs if run.task in ("verification", "open_set") and has_both_kinds(run.rows)]
    attacks = [run for run in runs if run.task == "attack"]
    summaries = [summarize_trials(run.rows, run.config.get("threshold")) for run in trials]
    heard, unheard = _examples(certified, attacks) if sounds else ([], [])
    claims = [(run, own) for run in runs if (own := _attacked(run, attacks))]
    (margins, lacking), places = measured_margins(runs), [run.place for run in runs]
    return TEMPLATES.get_template("page.html").render(
        title=title or ", ".join(dict.fromkeys(system_name(run.config) for run in runs)),
        runs=runs,
        written=datetime.now().astimezone(),
        version=version("voxcert"),
        unfinished=[run for run in runs if run.done is not None],
        findings=[*map(_proved, certified), *map(_bounded, trials, summaries), *_too_few(runs, trials)],
        broken=[*_broken(certified, attacks), *(one for run, own in claims for one in _turned(run, own))],
        alphas=sorted({row.alpha for run in certified + trials for row in run.rows}),
        verdicts=[(run, tables.first_sound(run)[0], budgets.verdicts(run, attacks)) for run in certified],
        budgets=[
            budgets.budgets_table(run, attacks, n) for n, run in enumerate(certified) if run.noise_at == "waveform"
        ],
        rates=[
            budgets.rates_table(run, own, n)
            for n, (run, own) in enumerate(zip(trials, summaries, strict=True))
            if run.noise_at == "waveform"
        ],
        certified=[tables.certified_table(run, n) for n, run in enumerate(certified)],
        trials=[tables.trials_table(run, own, n) for n, (run, own) in enumerate(zip(trials, summaries, strict=True))],
        attacks=tables.attacks_table(attacks) if attacks else None,
        claims=[tables.claims_table(run, own, n) for n, (run, own) in enumerate(claims)],
        speakers=[tables.speakers_table(run, n) for n, run in enumerate(certified)],
        abstentions=[tables.abstentions_table(run, n) for n, run in enumerate(certified)],
        settings=[tables.settings_table(run, n) for n, run in enumerate(runs)],
        hearing=margins_table(margins) if margins else None,
        hearing_lacks=lacking,
        hearing_commands={run.name: f"voxcert hearing {run.place}" for run in runs if run.name in {*margins, *lacking}},
        page_command=_page_command(places, sounds) if all(places) else "",
        sounds=sounds,
        examples=heard,
        unheard=unheard,
        figures=_figures(certified, trials, attacks, summaries),
        libraries=[_own(name) for name in SCRIPTS],
    )


def _figures(certified: list[Run], trials: list[Run], attacks: list[Run], summaries: list) -> dict[str, Any]:
    """Figures by the id of the place where they are drawn."""
    found = {}
    named = [run for run in attacks if run.rows[0].scenario == "csi" and run.rows[0].within is None]
    summarized = list(zip(trials, summaries, strict=True))
    for noise_at in dict.fromkeys(run.noise_at for run in [*certified, *trials, *named]):
        own = [run for run in certified if run.noise_at == noise_at]
        if own or (named and noise_at == "waveform"):
            found[f"accuracy-{noise_at}"] = figures.accuracy_figure(own, named)
        if own:
            found[f"radii-{noise_at}"] = figures.radii_figure(own)
        if claimed := [(run, summary) for run, summary in summarized if run.noise_at == noise_at]:
            found[f"rates-{noise_at}"] = figures.error_rates_figure(claimed)
    if trials:
        found["det"] = figures.det_figure(trials)
    return found


def has_both_kinds(rows: Sequence[CertifiedScore]) -> bool:
    """Whether there are genuine and impostor trials, which error rates need; an unfinished run may lack one kind."""
    return len({row.target for row in rows}) == 2


def _proved(run: Run) -> Finding:
    planned = None if run.done is None else run.num_utterances + 1
    text = statement(run.rows, planned)
    return Finding(run.name, text, not text.startswith("Nothing"))


def _bounded(run: Run, summary: dict[str, Any]) -> Finding:
    text = trials_statement(summary, run.rows, run.config.get("threshold") is not None)
    return Finding(run.name, text, not text.startswith("Nothing"))


def _too_few(runs: Sequence[Run], trials: Sequence[Run]) -> list[Finding]:
    """What is said of runs of trials that have no error rates yet."""
    lacking = [run for run in runs if run.task in ("verification", "open_set") and run not in trials]
    return [Finding(run.name, ONE_KIND, False) for run in lacking]


def _broken(certified: Sequence[Run], attacks: Sequence[Run]) -> list[Finding]:
    """What attacks on the very classifiers that were certified mean for their certificates."""
    found = []
    for run in certified:
        for rule, rows in by_rule(run.rows).items():
            attacked = budgets.on_classifier(run, rule, attacks) if is_guarantee(rule) else []
            if tried := attacked_certificates(attacked, rows):
                broken = broken_certificates(attacked, rows)
                names = f": {', '.join(one.utterance for one in broken)}" if broken else ""
                text = f"attacks inside the certified radius of {len(tried)} utterances turned {len(broken)} answers"
                found.append(Finding(run.name, f"{text} (rule {rule}){names}.", not broken))
    return found


def _attacked(run: Run, attacks: Sequence[Run]) -> list[dict[str, Any]]:
    """The trials of a verification run beside attacks on the very same claims; none where nobody attacked them."""
    if run.task != "verification" or run.folder is None:
        return []
    folders = [one.folder for one in attacks if one.folder is not None]
    return attacked_trials(run.rows, attacked_claims(folders, run.folder, run.rows[0])[0])


def _turned(run: Run, compared: Sequence[dict[str, Any]]) -> list[Finding]:
    """What attacks on claims mean for the bounds of their trials."""
    found = []
    for one in compared:
        if one["num_tried"]:
            names = f": {', '.join(one['turned'])}" if one["turned"] else ""
            within, tried = rounded_down(one["radius"], 6), one["num_tried"]
            text = f"attacks within {within} on {tried} trials that are certified there turned"
            found.append(Finding(run.name, f"{text} {one['num_turned']} decisions{names}.", not one["turned"]))
    return found


def _examples(certified: Sequence[Run], attacks: Sequence[Run]) -> tuple[list[tuple[Run, Example]], list[Finding]]:
    """What can be played, of the first run whose recordings are at hand; and why not of others."""
    unheard = []
    for run in certified:
        if run.noise_at != "waveform" or run.folder is None:
            continue
        try:
            return [(run, one) for one in examples(run, attacks)], []
        except (ValueError, AudioError) as error:
            unheard.append(Finding(run.name, str(error), False))
    return [], unheard


def _page_command(places: Sequence[str], sounds: bool) -> str:
    return f"voxcert report {' '.join(places)} --output again.html{'' if sounds else ' --sounds false'}"


def _own(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")
