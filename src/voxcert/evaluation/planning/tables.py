"""A plan as a small table and as a recommendation in words."""

from typing import Any

from voxcert.evaluation.certification.tables import accuracy_headings
from voxcert.evaluation.show.tables import render_table


def plan_table(plan: dict[str, Any]) -> str:
    """Renders the estimates of a plan as a Markdown table: for every sigma and rule, with the recommended samples.

    Args:
        plan: As `plan_certification` returns it.
    """
    n = plan["recommended"]["num_estimate"]
    budgets = [point["radius"] for point in plan["estimates"][0]["certified_accuracy"]]
    lines = [
        ["sigma", "rule", "named rightly", "mean radius", *accuracy_headings(budgets)]
        + ["samples needed", "minutes", "minutes if so many"]
    ]
    for entry in plan["estimates"]:
        if entry["num_estimate"] != n:
            continue
        same = [e for e in plan["estimates"] if (e["sigma"], e["rule"]) == (entry["sigma"], entry["rule"])]
        enough = next(e for e in same if e["enough"])
        needed = f"{enough['num_estimate']}"
        if _is_open(enough, same):
            needed = f"at least {needed}"
        lines.append(
            [f"{entry['sigma']:g}", entry["rule"], f"{entry['accuracy']:.2f}", f"{entry['acr']:.3g}"]
            + [f"{point['value']:.2f}" for point in entry["certified_accuracy"]]
            + [needed, _minutes(entry), _minutes(enough)]
        )
    return render_table(lines)


def plan_note(plan: dict[str, Any]) -> str:
    """Says what the table's numbers are: estimates, of how little they come, and for which device."""
    of = {
        "val": "validation utterances" if _why(plan) else "validation utterances, none of which is tested",
        "test": "test utterances, for the data have no validation speakers",
    }[plan["stage"]]
    most = plan["estimates"][-1]["num_estimate"]
    return (
        f"Estimates, not a guarantee: from {plan['settings']['num_pilot']} noisy copies of each of "
        f"{plan['num_pilot_utterances']} {of}, for certificates with {plan['recommended']['num_estimate']} samples. CA "
        "at r: expected share of utterances with the right speaker and a radius above r (l2). Samples needed: more, up "
        f"to {most}, would hardly give larger radii. At least so many: nothing larger was asked for, or copies of the "
        "pilot all agreed, which cannot tell how rarely one fails (a larger num_pilot sees further). Minutes: to "
        f"certify all {plan['num_utterances']} {_utterances(plan)}{_why(plan)} at one sigma on this device "
        f"({plan['device']}, {1000 * plan['seconds_per_forward']:.3g} ms a forward in batches of "
        f"{plan['batch_size']})."
    )


def plan_statement(plan: dict[str, Any]) -> str:
    """The recommendation in words."""
    best = plan["recommended"]
    budget = plan["settings"]["minutes"]
    if best["hopeless"]:
        return (
            "Nothing is expected to be certified at any of these sigmas: train the encoder under noise, or try smaller "
            "sigmas."
        )
    sigmas = ", ".join(f"{sigma:g}" for sigma in best["sigmas"])
    which = "sigmas" if len(best["sigmas"]) > 1 else "sigma"
    few = best["num_utterances"] < plan["num_utterances"]
    about = f"{best['num_utterances']} of {plan['num_utterances']}" if few else f"all {plan['num_utterances']}"
    said = (
        f"In {budget:g} minutes: {which} {sigmas} with {best['num_estimate']} samples for {about} {_utterances(plan)}, "
        f"which should take {best['minutes']:.2g} minutes."
    )
    return said if best["fits"] else f"{said} Less than that would say next to nothing: give it more time."


def _is_open(enough: dict[str, Any], same: list[dict[str, Any]]) -> bool:
    """Whether more samples may be needed after all. A plan that was kept before it was asked does not say."""
    return enough is same[-1] or not enough.get("surely", True)


def _utterances(plan: dict[str, Any]) -> str:
    """Which are planned for; always those of the test in a plan that was kept before there was a choice."""
    return "utterances" if plan.get("planned_stage", "test") == "test" else "validation utterances"


def _why(plan: dict[str, Any]) -> str:
    return "" if plan.get("planned_stage", "test") == "test" else " (the data have no test speakers)"


def _minutes(entry: dict[str, Any]) -> str:
    minutes = entry["minutes"]
    return f"{minutes:.0f}" if minutes >= 10 else f"{minutes:.2g}"
