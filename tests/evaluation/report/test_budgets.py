"""Published budgets beside certified error rates."""

from types import SimpleNamespace

from voxcert.evaluation.report.budgets import PUBLISHED, rates_table


def test_radii_are_rounded_down():
    """The radius at which a rate is certified, and the largest one: to nearest they would be 0.234568."""
    rates = [{f"{name}{end}": 0.1 for name in ("eer", "frr", "far") for end in ("", "_low", "_high")}]
    rates[0]["radius"] = 0.23456789
    rows = [SimpleNamespace(radii=[0.23456789], num_samples=10_000)]
    table = rates_table(SimpleNamespace(name="tiny", rows=rows), {"vote": {"rates": rates}}, 0)
    within = [one.name for one in PUBLISHED if one.radius(rows[0]) <= 0.2]
    assert [line[:3] for line in table.lines[1:]] == [[name, "vote", "0.234567"] for name in within]
    assert "the largest of which is 0.234567: " in table.note
