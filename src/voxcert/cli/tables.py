"""What `voxcert report` and `voxcert certify` print of runs: tables, what they prove, and where the plots are."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from voxcert.evaluation.attack.comparison import describe_attacks, fitting, is_attack_run, redraw
from voxcert.evaluation.attack.row import AttackRow
from voxcert.evaluation.certification.comparison import COMPARISON_PLOT, common_rule, plot_comparison
from voxcert.evaluation.certification.figures import plot_certified_accuracy
from voxcert.evaluation.certification.folder import (
    PLOT,
    is_verification,
    planned_utterances,
    read_run,
    read_trials_of_run,
)
from voxcert.evaluation.certification.tables import (
    TABLE_NOTE,
    default_radii,
    markdown_table,
    statement,
    summarize,
    unfinished,
)
from voxcert.evaluation.defence.job import describe_comparison, is_comparison
from voxcert.evaluation.defence.row import DefenceRow
from voxcert.evaluation.report import write_report
from voxcert.evaluation.report.page import ONE_KIND, has_both_kinds
from voxcert.evaluation.report.pdf import write_pdf
from voxcert.evaluation.run.folder import read_config
from voxcert.evaluation.run.tasks import unmerged
from voxcert.evaluation.verification.figures import plot_error_rates
from voxcert.evaluation.verification.job import PLOT as TRIALS_PLOT
from voxcert.evaluation.verification.tables import TRIALS_NOTE, summarize_trials, trials_statement, trials_table
from voxcert.rows import Row
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.certified_score import CertifiedScore


def show_runs(runs: list[str], radii: list[float] | None) -> list[Path]:
    """Shows the tables of runs and draws their plots again.

    Args:
        runs: Output folders of `certify`, `voxcert attack` and `voxcert defend`.
        radii: Of the tables of certificates; those of the run when None.

    Returns:
        The plots that were drawn.

    Raises:
        ValueError: If radii are given and no run is one that names speakers.
    """
    pictures: list[Path] = []
    for run in runs:
        if said := unmerged(run):
            print(f"{run}: {said}", file=sys.stderr)
    compared = [run for run in runs if is_comparison(run)]
    attacked = [run for run in runs if is_attack_run(run)]
    verified = [run for run in runs if is_verification(run)]
    certified = [run for run in runs if run not in attacked + compared + verified]
    if radii and not certified:
        raise ValueError(f"radii must be null without a run that names speakers, got {radii} for {', '.join(runs)}")
    for run in compared:
        print(f"\n{run}\n\n{describe_comparison(run)}")
    for run in verified:
        trials = read_trials_of_run(run)
        if not has_both_kinds(trials):
            print(f"\n{run}\n\n{ONE_KIND}")
            continue
        verifiers = summarize_trials(trials, (read_config(run) or {}).get("threshold"))
        plot_error_rates(trials, verifiers, Path(run) / TRIALS_PLOT)
        pictures.append(Path(run) / TRIALS_PLOT)
        show_trials(run, verifiers, trials)
    certificates = {run: read_run(run) for run in certified}
    for run, rows in certificates.items():
        plot_certified_accuracy(rows, Path(run) / PLOT, planned_utterances(run))
        pictures.append(Path(run) / PLOT)
        own = (read_config(run) or {}).get("radii") or default_radii(rows[0].sigma)
        show(run, summarize(rows, radii or own), rows)
    if len(certified) > 1 and common_rule(list(certificates.values())) is None:
        print("\nNo picture compares these runs: they have no sound rule in common.")
    elif len(certified) > 1:
        plot_comparison(certified, path := Path(certified[0]) / COMPARISON_PLOT)
        print(f"\n{path}")
        pictures.append(path)
    if attacked:
        print(f"\n{describe_attacks(attacked, certified + verified)}")
        for some, beside in fitting(attacked, certified):
            pictures.append(redraw(some, beside))
            print(f"\n{pictures[-1]}")
    return pictures


def kind_of_rows(run: str) -> type[Row]:
    """What the rows of a run are: `certify`, `voxcert attack` and `voxcert defend` write rows of their own."""
    kinds = ((is_comparison, DefenceRow), (is_attack_run, AttackRow), (is_verification, CertifiedScore))
    return next((kind for fits, kind in kinds if fits(run)), Certificate)


def show_page(
    runs: list[str],
    output: Path,
    title: str | None,
    sounds: bool,
    pdf: bool,
    project: str | None,
    pictures: list[Path],
) -> None:
    """Writes the page about runs, and says where it is; comparisons of defences have their tables instead.

    Args:
        runs: As for `show_runs`.
        output: The page.
        title: Of the page.
        sounds: Whether it holds recordings, to be played.
        pdf: Whether to print it too.
        project: Of Weights & Biases, where page and plots are to go; None for nowhere.
        pictures: The plots.

    Raises:
        ValueError: If a PDF or a project is asked for where all runs are comparisons of defences.
    """
    shown = [run for run in runs if not is_comparison(run)]
    if not shown:
        if pdf or project:
            raise ValueError(f"runs must hold a certification or an attack, which a page is about, got {runs}")
        return
    print(f"\n{write_report(shown, output, title=title, sounds=sounds)}")
    if pdf:
        print(write_pdf(output, output.with_suffix(".pdf")))
    if project is not None:
        from voxcert.evaluation.report.tracking import track_report  # here: wandb takes a second

        track_report(project, output, pictures)


def show(folder: str, rules: dict[str, Any], rows: list[Certificate]) -> None:
    """Prints the table of a certification and what its rows prove."""
    said = statement(rows, planned_utterances(folder))
    _print(folder, rows, markdown_table(rules), TABLE_NOTE, said, Path(folder) / PLOT)


def show_trials(folder: str, verifiers: dict[str, Any], rows: list[CertifiedScore]) -> None:
    """Prints the table of a verification run and what its rows prove."""
    given = (read_config(folder) or {}).get("threshold") is not None
    said = trials_statement(verifiers, rows, given)
    _print(folder, rows, trials_table(verifiers), TRIALS_NOTE, said, Path(folder) / TRIALS_PLOT)


def _print(folder: str, rows: Sequence[Row], *paragraphs: str | Path) -> None:
    """Prints paragraphs about a run, below its folder and how far it is."""
    done = unfinished(rows, planned_utterances(folder))
    about = folder if done is None else f"{folder}: not finished, {done}"
    print("\n" + "\n\n".join(map(str, (about, *paragraphs))))
