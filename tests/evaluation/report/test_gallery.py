"""The page of an audit that the gallery shows: it holds no voices, and its numbers are those of the kept rows."""

import json
import lzma
from pathlib import Path

import pytest
from reported import Page

DOCS = Path(__file__).parents[3] / "docs"
RULES = ("vote", "distribution")


@pytest.fixture(scope="module")
def page():
    return Page((DOCS / "audits" / "campplus.html").read_text())


def kept(stage):
    with lzma.open(DOCS / "results" / f"audit-campplus-{stage}" / "rows.jsonl.xz", "rt") as file:
        return [json.loads(line) for line in file]


def test_it_asks_for_nothing_and_holds_no_voices(page):
    assert page.links
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert not any(link.startswith("data:audio") for link in page.links)
    assert "made without recordings" in page.text


@pytest.mark.parametrize("rule", RULES)
def test_certified_accuracy_is_that_of_the_rows(page, rule):
    heading, *lines = page.tables["certified-0"]
    (line,) = [line for line in lines if line[0].split()[0] == rule]
    rows = [row for row in kept("certify-0.1") if row["rule"] == rule]
    radii = [row["radius"] if row["prediction"] == row["speaker"] and not row["abstained"] else 0 for row in rows]
    columns = {float(name.removeprefix("CA at ")): place for place, name in enumerate(heading) if "CA at" in name}
    assert 0.195 in columns
    for at, place in columns.items():
        assert line[place].split()[0] == f"{sum(radius > at for radius in radii) / len(rows):.2f}"


def test_every_attack_is_about_the_recordings_that_were_certified(page):
    stages = ("fgsm", "pgd-linf", "pgd-l2", "black-box", "impostors")
    certified = {row["utterance"] for row in kept("certify-0.1")}
    assert all({row["utterance"] for row in kept(stage)} == certified for stage in stages)
    _, *lines = page.tables["attacks"]
    assert len(lines) >= len(stages)


def test_no_certified_decision_turned(page):
    inside = kept("inside-0.1")
    assert inside
    turned = [row for row in inside if not row["abstained"] and row["adversarial"] != row["expected"]]
    assert not turned
    assert "No certificate was broken." in page.text
