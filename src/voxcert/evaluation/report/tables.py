"""Tables of a page: cells as every other table of the package writes them, with an id and a caption to be copied by."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from voxcert.evaluation.attack.certified_trials import ATTACKED_TRIALS_NOTE, attacked_trials_lines
from voxcert.evaluation.attack.tables import ATTACK_NOTE, attack_lines
from voxcert.evaluation.certification.tables import (
    TABLE_NOTE,
    by_rule,
    default_radii,
    is_guarantee,
    rule_name,
    summarize,
    table_lines,
)
from voxcert.evaluation.report.runs import Run
from voxcert.evaluation.show.tables import rounded_down
from voxcert.evaluation.verification.tables import TRIALS_NOTE, trials_lines


@dataclass(frozen=True)
class Table:
    """Cells with a heading.

    Attributes:
        id: Another one for every table of a page.
        caption: What it shows.
        lines: The heading, then rows of as many cells.
        note: What its words mean.
    """

    id: str
    caption: str
    lines: Sequence[Sequence[str]]
    note: str = ""


def certified_table(run: Run, index: int) -> Table:
    """Certified accuracy of an identification run, a line for each rule."""
    radii = run.config.get("radii") or default_radii(run.sigma)
    return Table(
        f"certified-{index}", f"Certified accuracy: {run.name}", table_lines(summarize(run.rows, radii)), TABLE_NOTE
    )


def trials_table(run: Run, verifiers: dict[str, Any], index: int) -> Table:
    """Certified error rates of a verification or open-set run, a line for each verifier and radius."""
    return Table(f"trials-{index}", f"Certified error rates: {run.name}", trials_lines(verifiers), TRIALS_NOTE)


def attacks_table(runs: Sequence[Run]) -> Table:
    """What attacks reached, a line for each run and budget."""
    lines = attack_lines(run.rows for run in runs)
    return Table("attacks", "Attacks: what they reached (empirical, not a proof)", lines, ATTACK_NOTE)


def claims_table(run: Run, compared: Sequence[dict[str, Any]], index: int) -> Table:
    """The trials of a verification run that were attacked, beside what is certified of them, a line for each radius."""
    caption = f"Attacks on claims beside their certificates: {run.name}"
    return Table(f"claims-{index}", caption, attacked_trials_lines(compared), ATTACKED_TRIALS_NOTE)


def speakers_table(run: Run, index: int) -> Table:
    """Certified radii by speaker, by the run's first sound rule."""
    rule, rows = first_sound(run)
    lines = [
        ["speaker", "utterances", "named rightly", "certified", "smallest radius", "median radius", "largest radius"]
    ]
    for speaker in sorted({row.speaker for row in rows}):
        own = [row for row in rows if row.speaker == speaker]
        radii = sorted(row.certified_radius for row in own)
        shown = (radii[0], radii[(len(radii) - 1) // 2], radii[-1])
        counts = len(own), sum(row.correct for row in own), sum(radius > 0 for radius in radii)
        lines.append([speaker, *map(str, counts), *map(rounded_down, shown)])
    note = "Wrong and abstained utterances count with radius 0; of an even number of radii the median is the lower one."
    caption = f"Radii by speaker, rule {rule_name(rule)}: {run.name}"
    return Table(f"speakers-{index}", caption, lines, f"{note} Radii are rounded down.")


def abstentions_table(run: Run, index: int) -> Table:
    """Why nothing was proved, a line for each rule and reason."""
    lines = [["rule", "reason", "utterances", "of"]]
    for rule, rows in by_rule(run.rows).items():
        counts = Counter(row.abstained for row in rows if row.abstained is not None)
        wrong = sum(row.abstained is None and not row.correct for row in rows)
        counts |= Counter({"certified, but for another speaker": wrong} if wrong else {})
        found = sorted(counts.items(), key=lambda item: (-item[1], item[0])) or [("none: all are certified", 0)]
        lines += [[rule_name(rule), reason, str(count), str(len(rows))] for reason, count in found]
    return Table(f"abstentions-{index}", f"Why an utterance is not certified for its speaker: {run.name}", lines)


def settings_table(run: Run, index: int) -> Table:
    """Every setting that the rows of a run depend on, with hashes and versions."""
    facts = {"checkpoint_hash": run.encoder, **run.settings}
    facts |= {f"version of {name}": version for name, version in run.summary.get("versions", {}).items()}
    lines = [["setting", "value"], *([name, _value(value)] for name, value in facts.items())]
    return Table(f"settings-{index}", f"Settings, hashes and versions: {run.name}", lines)


def first_sound(run: Run) -> tuple[str, list[Any]]:
    """The run's first sound rule, which sentences are about, and its rows; the first rule where none is sound."""
    groups = by_rule(run.rows)
    rule = next((rule for rule in groups if is_guarantee(rule)), next(iter(groups)))
    return rule, groups[rule]


def _value(value: Any) -> str:
    return "null" if value is None else str(value)
