"""Budgets of published attacks, and what certificates and attacks say about each: covered, broken, or open.

A perturbation whose samples are at most e has an l2 norm of at most e sqrt(T) over T samples, so a certificate covers
an l-infinity budget if its radius exceeds that.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from voxcert.attacks.budgets import Norm, from_int16
from voxcert.evaluation.attack.comparison import is_about
from voxcert.evaluation.attack.robust_accuracy import ROUNDING
from voxcert.evaluation.attack.row import AttackRow
from voxcert.evaluation.certification.heard import ROUNDING as SAME_NORM
from voxcert.evaluation.certification.tables import by_rule, is_guarantee
from voxcert.evaluation.report.runs import Run, same_names, same_speakers
from voxcert.evaluation.report.tables import Table, first_sound
from voxcert.evaluation.show.tables import rounded_down
from voxcert.evaluation.verification.tables import rate_cells
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.certified_score import CertifiedScore


@dataclass(frozen=True)
class Budget:
    """How large an attacker's perturbation may be.

    Attributes:
        epsilon: Waveform amplitude.
        norm: `l2` or `linf`.
        source: Who attacked so.
    """

    epsilon: float
    norm: Norm
    source: str

    @property
    def name(self) -> str:
        """Norm and size."""
        return f"{'l2' if self.norm == 'l2' else 'l-infinity'} {self.epsilon:.4g}"

    def radius(self, row: Certificate | CertifiedScore) -> float:
        """The l2 norm that no perturbation of this budget exceeds, over the samples of this row."""
        return self.epsilon if self.norm == "l2" else self.epsilon * math.sqrt(row.num_samples)

    def allows(self, row: AttackRow) -> bool:
        """Whether a perturbation that was found is within the budget."""
        return (row.l2 if self.norm == "l2" else row.linf) <= self.epsilon * (1 + ROUNDING)


TDAP, SSED = "Chen et al. 2024 (TDAP)", "Yao et al. 2022 (SSED)"
PUBLISHED = [
    Budget(from_int16(30), "linf", f"PGD of {TDAP}, 30 in 16-bit units"),
    Budget(from_int16(6400), "l2", f"PGD of {TDAP}, 6400 in 16-bit units"),
    Budget(0.001, "linf", f"FGSM and BIM of {SSED}"),
    Budget(0.002, "linf", f"FGSM and BIM of {SSED}"),
    Budget(0.005, "linf", f"FGSM and BIM of {SSED}"),
    Budget(0.01, "linf", f"FGSM of {SSED}"),
]


@dataclass(frozen=True)
class Verdict:
    """What is known of a budget for the utterances of an identification run, by its first sound rule.

    Attributes:
        budget: The budget.
        covered: Named rightly, and proved to stay so.
        wrong: Not covered, and named wrongly without any attack, or not readable.
        broken: Not covered, and turned by an attack on this very classifier within the budget.
        open: The rest: neither proved nor broken.
        total: All of them.
        attacks: What attacks did to the smoothed classifier and to the bare encoder, in words.
    """

    budget: Budget
    covered: int
    wrong: int
    broken: int
    open: int
    total: int
    attacks: str


def budgets_of(attacks: Iterable[Run]) -> list[Budget]:
    """The published budgets, and those that attack runs were given, largest last."""
    budgets = {(one.epsilon, one.norm): one for one in PUBLISHED}
    for run in attacks:
        for row in run.rows:
            epsilon, norm = row.attack_settings.get("epsilon"), row.attack_settings.get("norm")
            known = any(one.norm == norm and math.isclose(one.epsilon, epsilon or 0) for one in budgets.values())
            if row.within is None and isinstance(epsilon, int | float) and norm in ("l2", "linf") and not known:
                budgets[epsilon, norm] = Budget(epsilon, norm, f"{row.attack}, in an attack run of this page")
    return sorted(budgets.values(), key=lambda one: (one.norm, one.epsilon))


def covered(rows: Iterable[Certificate], budget: Budget) -> set[str]:
    """Utterances that are named rightly, and provably stay so under every perturbation of the budget."""
    return {row.utterance for row in rows if row.certified and row.radius > budget.radius(row)}


def turned(rows: Iterable[AttackRow], budget: Budget) -> set[str]:
    """Utterances that were decided rightly, and wrongly under a perturbation of the budget."""
    return {row.utterance for row in rows if row.correct_before and row.turned and budget.allows(row)}


def on_classifier(run: Run, rule: str, attacks: Iterable[Run]) -> list[AttackRow]:
    """Attacked utterances of the very classifier that a rule of an identification run certified."""
    (certificate, *_) = by_rule(run.rows)[rule]
    fitting = (one for one in attacks if is_about(certificate, one.rows[0]) and _is_system(run, one))
    return [row for one in fitting if same_speakers(run, one) for row in one.rows]


def on_bare_encoder(run: Run, attacks: Iterable[Run]) -> list[AttackRow]:
    """Attacked recordings of a run, on the encoder that it smoothed, not smoothed, naming one of the same speakers."""
    heard = {row.utterance: row.waveform_norm for row in run.rows}
    fitting = (one for one in attacks if one.sigma is None and _is_system(run, one) and same_names(run, one))
    return [row for one in fitting for row in one.rows if _is_recording(row, heard)]


def verdicts(run: Run, attacks: Sequence[Run]) -> list[Verdict]:
    """What is known of the published budgets, by the first sound rule; none if radii are not about waveforms."""
    rule, rows = first_sound(run)
    if rows[0].noise_at != "waveform" or not is_guarantee(rule):
        return []
    attacked, bare = on_classifier(run, rule, attacks), on_bare_encoder(run, attacks)
    all_of_them, wrong = {row.utterance for row in rows}, {row.utterance for row in rows if not row.correct}
    found = []
    for budget in PUBLISHED:
        proved = covered(rows, budget)
        broken = (turned(attacked, budget) & all_of_them) - proved - wrong
        rest = all_of_them - proved - wrong - broken
        said = f"broken: smoothed {_tried(attacked, budget)}, bare encoder {_tried(bare, budget)}"
        said = said if attacked or bare else "no attack was run"
        found.append(Verdict(budget, len(proved), len(wrong - proved), len(broken), len(rest), len(rows), said))
    return found


def budgets_table(run: Run, attacks: Sequence[Run], index: int) -> Table:
    """Of every budget: for how many utterances each sound rule covers it, and how many an attack turned within it."""
    rules = {rule: rows for rule, rows in by_rule(run.rows).items() if is_guarantee(rule)}
    columns = {
        f"covered ({rule})": [_share(len(covered(rows, one)), len(rows)) for one in budgets_of(attacks)]
        for rule, rows in rules.items()
    }
    decisions = dict.fromkeys("vote" if rule == "vote" else "embedding" for rule in rules)
    for decision in decisions:
        rule = next(rule for rule in rules if (rule == "vote") == (decision == "vote"))
        columns[f"broken by attack (smoothed, {decision})"] = _broken(on_classifier(run, rule, attacks), attacks)
    columns["broken by attack (bare encoder)"] = _broken(on_bare_encoder(run, attacks), attacks)
    lines = [["budget", *columns, "source"]]
    for place, budget in enumerate(budgets_of(attacks)):
        lines.append([budget.name, *(cells[place] for cells in columns.values()), budget.source])
    note = (
        "Covered: named rightly, and proved to stay so under every perturbation of the budget. Broken: named rightly "
        "without an attack and wrongly under a perturbation within the budget, of those that one was tried on (an "
        "utterance about which a smoothed system says nothing before the attack is none of them); an attack that fails "
        "proves nothing. An l-infinity budget e counts as the l2 norm e sqrt(T) that it can reach over T samples."
    )
    return Table(f"budgets-{index}", f"Budgets by rule and attack: {run.name}", lines, note)


def rates_table(run: Run, verifiers: dict[str, Any], index: int) -> Table:
    """Of every published budget: the error rates that no attack within it can raise, at the next bounded radius."""
    lines = [["budget", "verifier", "bounded at radius", "certified EER %", "FRR %", "FAR %", "source"]]
    beyond = []
    for budget in PUBLISHED:
        needed = max(map(budget.radius, run.rows))
        for verifier, entry in verifiers.items():
            rate = next((one for one in entry["rates"] if one["radius"] >= needed), None)
            if rate is None:
                beyond.append(budget.name)
                continue
            lines.append([budget.name, verifier, rounded_down(rate["radius"], 6), *rate_cells(rate), budget.source])
    note = "A certified rate at a radius, rounded up, holds for every attack of a budget that stays within it."
    if beyond:
        note += f" Beyond all radii of this run, the largest of which is {rounded_down(run.rows[0].radii[-1], 6)}: "
        note += f"{', '.join(dict.fromkeys(beyond))}."
    return Table(f"rates-{index}", f"Published budgets: {run.name}", lines, note)


def _is_system(run: Run, attack: Run) -> bool:
    return attack.encoder == run.encoder and attack.rows[0].scenario == "csi"


def _is_recording(row: AttackRow, heard: Mapping[str, float]) -> bool:
    """Whether an attack was on a recording as it was certified: its id, and its norm where anything was added."""
    if row.snr_db is None or not heard.get(row.utterance):  # rows older than norms have 0
        return row.utterance in heard
    return math.isclose(row.l2 * 10 ** (row.snr_db / 20), heard[row.utterance], rel_tol=SAME_NORM)


def _broken(rows: Sequence[AttackRow], attacks: Sequence[Run]) -> list[str]:
    return [_tried(rows, budget) for budget in budgets_of(attacks)]


def _tried(rows: Sequence[AttackRow], budget: Budget) -> str:
    tried = {row.utterance for row in rows if row.changed and not row.abstained_before and budget.allows(row)}
    return _share(len(turned(rows, budget)), len(tried)) if tried else "not tried"


def _share(count: int, total: int) -> str:
    return f"{count} of {total}"
