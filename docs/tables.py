"""Draws the tables and figures of the docs from the rows of the runs that they report, so that none is typed by hand.

A page says between two comments which runs a table shows; everything in between is drawn anew (`make tables`):

    <!-- table: certified mini --radii 0 0.01 -->
    <!-- end -->

`python docs/tables.py keep RUN NAME` copies the rows and the summary of a finished run to docs/results/NAME.
"""

import argparse
import lzma
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attack_tables import beside_ssed, trained_under_noise, under_noise, withstood
from defence_tables import beside_tdap, by_draws, quality_beside_tdap, summarize_together
from inversion_tables import beside_pizzi, side_by_side
from PIL import Image
from pilots import NUM_ESTIMATE, RULE, pilots_figure
from representation_statistics import RepresentationRow
from representation_tables import beside_oreilly, largest_radii, spread_beside_oreilly
from soak import soak_figure

from voxcert.columns import Columns
from voxcert.evaluation.attack.certified_trials import attacked_trials, attacked_trials_table
from voxcert.evaluation.attack.figures import robust_figure
from voxcert.evaluation.attack.row import AttackRow
from voxcert.evaluation.attack.tables import attack_table
from voxcert.evaluation.attack.transfer import transfer_table
from voxcert.evaluation.certification.comparison import comparison_figure, paired_difference, system_name
from voxcert.evaluation.certification.figures import certified_accuracy_figure
from voxcert.evaluation.certification.tables import accuracy_headings, by_rule, summarize, table_lines
from voxcert.evaluation.defence.figures import quality_figure
from voxcert.evaluation.defence.row import DefenceRow
from voxcert.evaluation.hearing.job import HEARING
from voxcert.evaluation.hearing.row import HearingRow
from voxcert.evaluation.hearing.tables import hearing_lines, summarize_hearing
from voxcert.evaluation.inversion.row import InversionRow
from voxcert.evaluation.inversion.tables import inversion_table, summarize_inversions
from voxcert.evaluation.metrics.detection import speaker_interval_of_difference, speaker_interval_of_share
from voxcert.evaluation.planning.row import PilotRow
from voxcert.evaluation.planning.settings import BUDGETS
from voxcert.evaluation.run.folder import ROWS, SUMMARY, read_summary
from voxcert.evaluation.show.figures import save
from voxcert.evaluation.show.tables import certified_share, render_table, rounded_down, shown_radius, with_interval
from voxcert.evaluation.verification.figures import plot_error_rates
from voxcert.evaluation.verification.tables import summarize_trials, trials_table
from voxcert.rows import Row, read_rows
from voxcert.smoothing.certificate import Certificate
from voxcert.smoothing.certified_score import CertifiedScore
from voxcert.smoothing.curves import correct, wilson_interval

DOCS = Path(__file__).parent
RESULTS = DOCS / "results"
PAGES = [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]
PUBLISHED_BUDGET = 0.1953125
"""The leaderboard ranks by the l2 budget of a published attack (6400 in int16 units)."""
KEPT_ROWS, KEPT_MARGINS = f"{ROWS}.xz", f"{HEARING}.xz"
OF_NO_RUN = "largest-radii"
"""The table that shows a formula alone."""
TABLE = re.compile(r"(<!-- table: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)
FIGURE = re.compile(r"<!-- figure: (.+?) -->\n!\[[^\]]*\]\(([^)]+)\)")


def rows_of(name: str, kind: type[Row]) -> list:
    """Rows of a kept run; ValueError if there are none."""
    rows = read_rows(RESULTS / name / KEPT_ROWS, kind)
    if not rows:
        raise ValueError(f"{RESULTS / name} must hold the rows of a run, got none")
    return rows


def matching(patterns: list[str]) -> list[str]:
    """Names of kept runs, sorted; ValueError if there are none."""
    names = sorted({path.name for pattern in patterns for path in RESULTS.glob(pattern)})
    if not names:
        raise ValueError(f"docs/results must hold runs of a name like {' or '.join(patterns)}, got none")
    return names


def system_of(name: str) -> str:
    """What a kept run certified; its settings leave out where the checkpoint was, its command has it."""
    summary = read_summary(RESULTS / name)
    words = shlex.split(summary.get("command", ""))
    given = dict(zip(words, words[1:], strict=False))
    made = {"checkpoint": given.get("--checkpoint")}
    if "--encoder" in given:  # a class without weights
        made["encoder"] = {"class_path": given["--encoder"]}
    return system_name(summary["settings"] | made)


def certified(arguments: list[str]) -> str:
    """One run, a line for each rule; or several, a line for each rule of each, named by their system."""
    parser = argparse.ArgumentParser("certified")
    parser.add_argument("names", nargs="+")
    parser.add_argument("--radii", nargs="+", type=float, required=True)
    parser.add_argument("--rules", nargs="+")
    given = parser.parse_args(arguments)
    runs = {name: rows_of(name, Certificate) for name in given.names}
    if len(runs) == 1:
        (rows,) = runs.values()
        kept = [row for row in rows if given.rules is None or row.rule in given.rules]
        summary = summarize(kept, given.radii)
        lines = table_lines(summary)
        for line, (rule, own) in zip(lines[1:], by_rule(kept).items(), strict=True):
            shares = (summary[rule][name] for name in ("smoothed_accuracy", "abstention_rate"))
            line[1:3] = [_with_wilson(share, len(own)) for share in shares]
        return render_table(lines)
    lines = [["system", "sigma", "rule", "smoothed accuracy", *accuracy_headings(given.radii), "ACR"]]
    for name, rows in runs.items():
        system = system_of(name)
        for rule, own in by_rule(rows).items():
            if given.rules is None or rule in given.rules:
                entry = summarize(own, given.radii)[rule]
                points = entry["certified_accuracy"]
                shares = [certified_share(point["value"], point["low"], point["high"]) for point in points]
                about = [system, f"{own[0].sigma:g}", f"`{rule}`", _with_wilson(entry["smoothed_accuracy"], len(own))]
                lines.append([*about, *shares, rounded_down(entry["acr"])])
    return render_table(lines)


def leaderboard(patterns: list[str]) -> str:
    """Kept runs whose names match, best first: certified accuracy by votes, with the interval over speakers."""
    ranked = _ranked(matching(patterns))
    lines = _reached(ranked, BUDGETS)
    lines[0] += ["ACR", "weights", "rows"]
    for line, (name, rows, entry) in zip(lines[1:], ranked, strict=True):
        line[2:2] = [str(max(row.num_estimate for row in rows)), f"{len(rows)} ({len({row.speaker for row in rows})})"]
        line += [rounded_down(entry["acr"]), f"`{rows[0].encoder}`", f"[`{name}`](#{name.replace('.', '')})"]
    lines[0][2:2] = ["samples", "utterances (speakers)"]
    commands = [f"### {name}\n```bash\n{read_summary(RESULTS / name)['command'].strip()}\n```" for name, *_ in ranked]
    return "\n\n".join([render_table(lines), *commands])


def reached(arguments: list[str]) -> str:
    """Lines of the leaderboard at some radii, without what repeats them."""
    parser = argparse.ArgumentParser("reached")
    parser.add_argument("names", nargs="+")
    parser.add_argument("--radii", nargs="+", type=float, required=True)
    given = parser.parse_args(arguments)
    return render_table(_reached(_ranked(matching(given.names), given.radii), given.radii))


def _ranked(names: list[str], radii: Sequence[float] = BUDGETS) -> list[tuple[str, list[Certificate], dict[str, Any]]]:
    """Runs with their rows and summaries by votes; the best at the published budget come first."""
    entries = []
    for name in names:
        rows = [row for row in rows_of(name, Certificate) if row.rule == "vote"]
        entries.append((name, rows, summarize(rows, radii)["vote"]))
    ranked_by = radii.index(PUBLISHED_BUDGET)
    return sorted(entries, key=lambda one: (-one[2]["certified_accuracy"][ranked_by]["value"], -one[2]["acr"], one[0]))


def _reached(ranked: list, radii: Sequence[float]) -> list[list[str]]:
    lines = [["encoder", "sigma", "smoothed accuracy", *accuracy_headings(radii)]]
    for name, rows, entry in ranked:
        lines.append([system_of(name), f"{rows[0].sigma:g}", _smoothed_accuracy(rows)])
        lines[-1] += [_with_speakers(point) for point in entry["certified_accuracy"]]
    return lines


def varied(arguments: list[str]) -> str:
    """Kept runs that differ in one setting, a line for each of its values and each rule."""
    parser = argparse.ArgumentParser("varied")
    parser.add_argument("setting")
    parser.add_argument("patterns", nargs="+")
    parser.add_argument("--radii", nargs="+", type=float, required=True)
    parser.add_argument("--rules", nargs="+", default=["vote"])
    given = parser.parse_args(arguments)
    shown = given.setting.rpartition(".")[2].replace("_", " ")
    lines = [[shown, "rule", "smoothed accuracy", *accuracy_headings(given.radii), "ACR"]]
    for value, rows in _by_setting(given.setting, given.patterns):
        for rule, own in by_rule(rows).items():
            if rule in given.rules:
                entry = summarize(own, given.radii)[rule]
                shares = [_with_speakers(point) for point in entry["certified_accuracy"]]
                lines.append([f"{value:g}", f"`{rule}`", _smoothed_accuracy(own), *shares])
                lines[-1] += [rounded_down(entry["acr"])]
    return render_table(lines)


def _by_setting(setting: str, patterns: list[str]) -> list[tuple[float, list[Certificate]]]:
    """The values of a setting in kept runs, ascending, with the rows."""
    names = matching(patterns)
    summaries = {name: read_summary(RESULTS / name) for name in names}
    given = {name: one["settings"].get(setting) for name, one in summaries.items()}
    values = {name: one.get(setting) if given[name] is None else given[name] for name, one in summaries.items()}
    if len(set(values.values())) < len(names):
        raise ValueError(f"runs must differ in {setting}, got {values}")
    return [(values[name], rows_of(name, Certificate)) for name in sorted(names, key=values.get)]


def _with_wilson(share: float, number: int) -> str:
    return with_interval(share, *wilson_interval(round(share * number), number), decimals=2)


def _smoothed_accuracy(rows: Sequence[Certificate]) -> str:
    """The share of one rule's rows that name the speaker rightly, with its interval over speakers."""
    rows = Columns.of(Certificate, rows)
    right = correct(rows)
    return with_interval(right.mean(), *speaker_interval_of_share(right, rows.column("speaker")), decimals=2)


def _with_speakers(point: dict[str, Any]) -> str:
    return certified_share(point["value"], point["low_speakers"], point["high_speakers"])


def paired(arguments: list[str]) -> str:
    """What a second run certifies more than a first one of the same utterances, at each radius."""
    parser = argparse.ArgumentParser("paired")
    parser.add_argument("names", nargs=2)
    parser.add_argument("--radii", nargs="+", type=float, required=True)
    given = parser.parse_args(arguments)
    first, second = (by_rule(rows_of(name, Certificate)) for name in given.names)
    before, after = map(system_of, given.names)
    lines = [["rule", *(f"{after} - {before} at {shown_radius(radius)}" for radius in given.radii)]]
    for rule in first.keys() & second.keys():
        differences = [paired_difference(first[rule], second[rule], radius) for radius in given.radii]
        lines.append([f"`{rule}`", *(f"{gain:+.3f} [{low:+.3f}, {high:+.3f}]" for gain, low, high in differences)])
    return render_table([lines[0], *sorted(lines[1:])])


def planned(arguments: list[str]) -> str:
    """Pilots of the same utterances, a line for each: what is to be expected, and how much more than of the first.

    Of several corpora `--corpus` shows one alone.
    """
    parser = argparse.ArgumentParser("planned")
    parser.add_argument("names", nargs="+")
    parser.add_argument("--radii", nargs="+", type=float, required=True)
    parser.add_argument("--corpus")
    given = parser.parse_args(arguments)
    last = given.radii[-1]
    lines = [
        ["system", "sigma", "named rightly", *(f"{heading}, expected" for heading in accuracy_headings(given.radii))]
    ]
    lines[0] += ["mean radius", f"more than the first at {shown_radius(last)}"]
    first: dict[tuple, float] = {}
    for name in given.names:
        rows = [row for row in rows_of(name, PilotRow) if row.rule == RULE]
        rows = [row for row in rows if given.corpus is None or row.utterance.startswith(f"{given.corpus}/")]
        radii = [row.radii[row.samples.index(NUM_ESTIMATE)] for row in rows]
        speakers = [row.speaker for row in rows]
        reached = {row.key: float(radius > last) for row, radius in zip(rows, radii, strict=True)}
        first = first or reached
        if reached.keys() != first.keys():
            raise ValueError(f"pilots must be about the same utterances and sigma, got others in {name}")
        gain = [reached[row.key] - first[row.key] for row in rows]
        low, high = speaker_interval_of_difference(gain, speakers)
        shares = [f"{sum(one > radius for one in radii) / len(radii):.2f}" for radius in given.radii]
        right = sum(row.correct for row in rows) / len(rows)
        lines.append([system_of(name), f"{rows[0].sigma:g}", f"{right:.2f}", *shares])
        more = "-" if first is reached else f"{sum(gain) / len(gain):+.2f} [{low:+.2f}, {high:+.2f}]"
        lines[-1] += [f"{sum(radii) / len(radii):.3f}", more]
    return render_table(lines)


def attacks(names: list[str]) -> str:
    """Attack runs, a line for each budget."""
    return attack_table(rows_of(name, AttackRow) for name in names)


def attacks_beside_ssed(names: list[str]) -> str:
    """Attack runs of one budget each, a line for each, beside the paper's numbers."""
    return beside_ssed((system_of(name), name, rows_of(name, AttackRow)) for name in names)


def attacks_withstood(names: list[str]) -> str:
    """Attack runs over radii, a line for each system."""
    return withstood((system_of(name), name, rows_of(name, AttackRow)) for name in names)


def attacks_under_noise(names: list[str]) -> str:
    """Noise instead of an attack at several norms, a line for each system."""
    return under_noise((system_of(name), name, rows_of(name, AttackRow)) for name in names)


def networks_trained_under_noise(names: list[str]) -> str:
    """As `attacks_under_noise`, of networks trained under noise, beside O'Reilly's numbers."""
    return trained_under_noise((system_of(name), name, rows_of(name, AttackRow)) for name in names)


def transfers(names: list[str]) -> str:
    """Judged attacks on claims, a line for each budget."""
    return transfer_table(rows_of(name, AttackRow) for name in names)


def defences_beside_tdap(names: list[str]) -> str:
    """Comparisons of the same trials, a line for each defence, beside the paper's error rates."""
    return beside_tdap([rows_of(name, DefenceRow) for name in names])


def quality_of_defences(arguments: list[str]) -> str:
    """What an attack, which is named first, leaves of the speech behind each defence, beside the paper's."""
    attack, *names = arguments
    return quality_beside_tdap(attack, [rows_of(name, DefenceRow) for name in names])


def draws(arguments: list[str]) -> str:
    """A random defence under an attack, which are named first, a line for each comparison with other draws."""
    defence, attack, *names = arguments
    numbers = {name: read_summary(RESULTS / name)["settings"]["num_draws"] for name in names}
    return by_draws(defence, attack, [(name, number, rows_of(name, DefenceRow)) for name, number in numbers.items()])


def inversion(names: list[str]) -> str:
    """An inversion run, a line for each experiment."""
    (name,) = names
    settings = read_summary(RESULTS / name)["settings"]
    sizes = {f"{one['name']}, {one['method']}": one["step_size"] for one in settings["experiments"]}
    return inversion_table(summarize_inversions(rows_of(name, InversionRow)), sizes)


def inversion_beside_pizzi(names: list[str]) -> str:
    """An inversion run, a line for each start, beside the paper's numbers."""
    (name,) = names
    return beside_pizzi(rows_of(name, InversionRow))


def inversions(names: list[str]) -> str:
    """Inversion runs of the same experiments, a line for each."""
    return side_by_side((name, read_summary(RESULTS / name), rows_of(name, InversionRow)) for name in names)


def noise_at_representations(names: list[str]) -> str:
    """Runs of one sigma each, with the noise anywhere, beside O'Reilly's numbers."""
    return beside_oreilly([rows_of(name, Certificate) for name in names])


def largest_radii_beside_oreilly(_: list[str]) -> str:
    """The largest radii that so many copies can show, of no run, beside O'Reilly's."""
    return largest_radii()


def representations(names: list[str]) -> str:
    """How large the numbers are that noise is added to, a line for each place, beside O'Reilly's."""
    (name,) = names
    return spread_beside_oreilly(rows_of(name, RepresentationRow))


def trials(arguments: list[str]) -> str:
    """A verification run, a line for each verifier and radius, of those that are named if any are."""
    parser = argparse.ArgumentParser("trials")
    parser.add_argument("name")
    parser.add_argument("--radii", nargs="+", type=float)
    parser.add_argument("--verifiers", nargs="+")
    given = parser.parse_args(arguments)
    summary = _trials_of(given.name)[1]
    chosen = given.verifiers or list(summary)
    if unknown := set(chosen) - set(summary):
        raise ValueError(f"verifiers must be among {', '.join(summary)}, got {', '.join(unknown)}")
    summary = {verifier: summary[verifier] for verifier in chosen}
    for entry in summary.values():
        entry["rates"] = [one for one in entry["rates"] if given.radii is None or one["radius"] in given.radii]
    return trials_table(summary)


def hearing(names: list[str]) -> str:
    """The hearing margins of several runs, a line for each rule of each, named by their system."""
    lines: list[list[str]] = []
    for name in names:
        rows = read_rows(RESULTS / name / KEPT_MARGINS, HearingRow)
        if not rows:
            raise ValueError(f"{RESULTS / name} must hold the hearing margins of a run, got none")
        heading, *own = hearing_lines(summarize_hearing(rows))
        lines = lines or [["system", *heading]]
        lines += [[system_of(name), f"`{rule}`", *cells] for rule, *cells in own]
    return render_table(lines)


def _trials_of(name: str) -> tuple[list[CertifiedScore], dict[str, Any]]:
    rows = rows_of(name, CertifiedScore)
    return rows, summarize_trials(rows, read_summary(RESULTS / name)["settings"].get("threshold"))


def attacked(names: list[str]) -> str:
    """A verification run, and attacks on its claims, a line for each radius."""
    run, *attacks = names
    rows = [row for one in matching(attacks) for row in rows_of(one, AttackRow)]
    return attacked_trials_table(attacked_trials(rows_of(run, CertifiedScore), rows))


TABLES: dict[str, Callable[[list[str]], str]] = {
    "certified": certified,
    "leaderboard": leaderboard,
    "paired": paired,
    "planned": planned,
    "reached": reached,
    "varied": varied,
    "attacks": attacks,
    "attacks-beside-ssed": attacks_beside_ssed,
    "attacks-withstood": attacks_withstood,
    "trained-under-noise": networks_trained_under_noise,
    "under-noise": attacks_under_noise,
    "transfers": transfers,
    "defences-beside-tdap": defences_beside_tdap,
    "quality-beside-tdap": quality_of_defences,
    "draws": draws,
    "inversion": inversion,
    "inversion-beside-pizzi": inversion_beside_pizzi,
    "inversions": inversions,
    "noise-beside-oreilly": noise_at_representations,
    OF_NO_RUN: largest_radii_beside_oreilly,
    "representations": representations,
    "trials": trials,
    "attacked": attacked,
    "hearing": hearing,
}


def draw_figure(arguments: list[str], path: Path) -> None:
    """Draws one run, the certified accuracy of several, or of `varied SETTING RUNS`, `planned PILOTS`, or `soak`.

    `quality DEFENCES` draws what defences leave of the speech, and how often they err; `attacked RUN ATTACK` what is
    certified, and what an attack on the same system leaves.
    """
    if arguments == ["soak"]:
        save(soak_figure(), path)
        return _made_small(path)
    if arguments[0] == "varied":
        shown = arguments[1].rpartition(".")[2]
        runs = [(f"{shown} = {value:g}", rows) for value, rows in _by_setting(arguments[1], arguments[2:])]
        save(comparison_figure(runs, one_panel=arguments[1] == "sigma"), path)
        return _made_small(path)
    if arguments[0] == "quality":
        save(quality_figure(summarize_together([rows_of(name, DefenceRow) for name in arguments[1:]])), path)
        return _made_small(path)
    if arguments[0] == "attacked":
        _, run, attack = arguments
        rows, proofs = rows_of(attack, AttackRow), rows_of(run, Certificate)
        attacked_ones = {row.utterance for row in rows}
        proofs = [one for one in proofs if one.utterance in attacked_ones]
        save(robust_figure([(rows[0].attack, rows)], [(f"{proofs[0].num_estimate} copies", proofs)]), path)
        return _made_small(path)
    if arguments[0] == "planned":
        save(pilots_figure([(system_of(name), rows_of(name, PilotRow)) for name in arguments[1:]]), path)
        return _made_small(path)
    if read_summary(RESULTS / arguments[0])["settings"].get("task", "identification") != "identification":
        plot_error_rates(*_trials_of(arguments[0]), path)
        return _made_small(path)
    runs = [(system_of(name), rows_of(name, Certificate)) for name in arguments]
    save(certified_accuracy_figure(runs[0][1]) if len(runs) == 1 else comparison_figure(runs), path)
    return _made_small(path)


def _made_small(path: Path) -> None:
    """Leaves a picture 128 colours, which nobody misses in a plot."""
    Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)


def redrawn(text: str) -> str:
    """A page with its tables drawn anew."""

    def table(match: re.Match[str]) -> str:
        kind, *arguments = shlex.split(match[2])
        if kind not in TABLES:
            raise ValueError(f"a table must be one of {', '.join(TABLES)}, got {match[2]!r}")
        return f"{match[1]}\n{TABLES[kind](arguments)}\n\n{match[3]}"

    return TABLE.sub(table, text)


def keep(run: Path, name: str) -> None:
    """Copies what is reported of a finished run; the same rows give the same file."""
    read_summary(run)  # which an unfinished run does not have
    (RESULTS / name).mkdir(parents=True, exist_ok=True)
    (RESULTS / name / KEPT_ROWS).write_bytes(lzma.compress((run / ROWS).read_bytes()))
    (RESULTS / name / SUMMARY).write_text((run / SUMMARY).read_text())
    if (run / HEARING).is_file():
        (RESULTS / name / KEPT_MARGINS).write_bytes(lzma.compress((run / HEARING).read_bytes()))


def main(arguments: list[str]) -> None:
    """Redraws all pages, or keeps a run."""
    if arguments[:1] == ["keep"]:
        keep(Path(arguments[1]), arguments[2])
        return
    for page in PAGES:
        old = page.read_text()
        if (new := redrawn(old)) != old:
            page.write_text(new)
            print(f"{page} has changed")
        for match in FIGURE.finditer(new):
            draw_figure(shlex.split(match[1]), page.parent / match[2])


if __name__ == "__main__":
    main(sys.argv[1:])
