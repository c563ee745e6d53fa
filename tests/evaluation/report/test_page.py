"""Every number of a page is that of the rows, which these tests read without the code that made the page."""

import hashlib
import json
import math
import re
import shutil
from collections import Counter
from pathlib import Path
from statistics import median_low

import numpy as np
import pytest
from reported import SIGMA, Page, lines_of

from voxcert.evaluation import report
from voxcert.evaluation.certification.folder import read_prototypes, write_prototypes
from voxcert.evaluation.report import write_report
from voxcert.evaluation.report.budgets import PUBLISHED

LARGEST_PAGE = 5_000_000  # bytes


@pytest.fixture(scope="module")
def written(runs, tmp_path_factory):
    return write_report(runs, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def page(written):
    return Page(written.read_text())


def by_rule(folder):
    rules = {}
    for row in lines_of(folder):
        rules.setdefault(row["rule"], []).append(row)
    return rules


def radius(row):
    return row["radius"] if row["abstained"] is None and row["prediction"] == row["speaker"] else 0.0


def test_the_runs_hold_right_wrong_and_abstained(runs):
    rows = by_rule(runs[0])["vote"]
    assert {row["prediction"] == row["speaker"] for row in rows} == {True, False}
    assert {row["abstained"] is None for row in rows} == {True, False}
    assert any(radius(row) > 0 for row in rows)


def test_it_is_one_small_file_that_asks_for_nothing(written, page):
    assert written.stat().st_size < LARGEST_PAGE
    assert page.links
    assert all(link.startswith(("#", "data:")) for link in page.links)


def test_certified_accuracy_is_that_of_the_rows(page, runs):
    heading, *lines = page.tables["certified-0"]
    radii = [float(cell.removeprefix("CA at ")) for cell in heading if cell.startswith("CA at")]
    assert radii == [0, 0.005, 0.01]
    for rule, rows in by_rule(runs[0]).items():
        (line,) = [line for line in lines if line[0].split()[0] == rule]
        shares = [np.mean([radius(row) > at for row in rows]) for at in radii]
        assert [float(cell.split()[0]) for cell in line[3:6]] == [
            math.floor(100 * share + 1e-9) / 100 for share in shares
        ]
        assert line[1] == f"{np.mean([row['prediction'] == row['speaker'] for row in rows]):.3f}"
        assert line[2] == f"{np.mean([row['abstained'] is not None for row in rows]):.3f}"
        assert float(line[6]) == pytest.approx(np.mean([radius(row) for row in rows]), rel=0.01)
        assert float(line[6]) <= np.mean([radius(row) for row in rows])


def test_curves_are_those_of_the_rows(page, runs):
    curves = page.figures["accuracy-waveform"]["curves"]
    certified = {curve["rule"]: curve for curve in curves if curve["rule"]}
    for rule, rows in by_rule(runs[0]).items():
        points = certified[rule]["points"]
        assert sorted(x for x, *_ in points[1:]) == sorted({radius(row) for row in rows} - {0.0})
        assert [y for _, y, *_ in points] == [np.mean([radius(row) > x for row in rows]) for x, *_ in points]
        assert certified[rule]["guarantee"] == (not rule.startswith("published"))
    empirical = [curve for curve in curves if not curve["rule"]]
    assert len(empirical) == 2
    for curve, folder in zip(empirical, runs[2:], strict=True):
        rows = lines_of(folder)
        for at, share, *_ in curve["points"]:
            wrong = {row["utterance"] for row in rows if row["abstained_before"] or row["clean"] != row["expected"]}
            turned = {
                row["utterance"] for row in rows if not row["abstained"] and row["adversarial"] != row["expected"]
            }
            reached = {row["utterance"] for row in rows if row["utterance"] in turned and breaks(row, at)}
            assert share == pytest.approx(1 - len(wrong | reached) / len({row["utterance"] for row in rows}))


def breaks(row, at):
    if row["abstained"] or row["adversarial"] == row["expected"]:
        return False
    within = row["l2"] <= row["radius"] * 1.0001
    return (min(row["l2"], row["radius"]) if within else row["l2"]) <= at


def test_verdicts_are_those_of_the_rows(page, runs):
    heading, *lines = page.tables["budgets-0"]
    rows, bare = by_rule(runs[0]), lines_of(runs[3])
    published = {f"{'l2' if one.norm == 'l2' else 'l-infinity'} {one.epsilon:.4g}": one for one in PUBLISHED}
    assert published.keys() <= {line[0] for line in lines}
    assert not any("published" in cell for cell in heading)
    for line in lines:
        name, size = line[0].split()
        epsilon = published[line[0]].epsilon if line[0] in published else float(size)
        for rule in ("vote", "distribution"):
            needed = [epsilon * (1 if name == "l2" else math.sqrt(row["num_samples"])) for row in rows[rule]]
            count = sum(radius(row) > least for row, least in zip(rows[rule], needed, strict=True))
            assert line[heading.index(f"covered ({rule})")] == f"{count} of {len(rows[rule])}"
        inside = [row for row in bare if row["l2" if name == "l2" else "linf"] <= epsilon * 1.0001]
        broken = {
            row["utterance"]
            for row in inside
            if row["clean"] == row["expected"] and row["adversarial"] != row["expected"]
        }
        tried = len({row["utterance"] for row in inside})
        shown = f"{len(broken)} of {tried}" if tried else "not tried"
        assert line[heading.index("broken by attack (bare encoder)")] == shown
        if line[0] in published:
            first = rows["vote"]
            covered = line[heading.index("covered (vote)")]
            wrong = sum(row["prediction"] != row["speaker"] for row in first)
            assert f"{covered} covered" in page.text
            assert f" {wrong} wrong" in page.text


def test_error_rates_are_those_of_the_rows(page, runs):
    _, *lines = page.tables["trials-0"]
    rows = lines_of(runs[1])
    for curve in page.figures["rates-waveform"]["curves"]:
        own = [row for row in rows if row["verifier"] == curve["verifier"]]
        shown = [line for line in lines if line[0] == curve["verifier"]][1:]
        for index, (rate, line) in enumerate(zip(curve["rates"], shown, strict=True)):
            genuine = np.array([row["lower"][index] for row in own if row["claim"] == row["speaker"]])
            impostor = np.array([row["upper"][index] for row in own if row["claim"] != row["speaker"]])
            cuts = np.concatenate([genuine, impostor, [2.0]])
            cuts = np.concatenate([cuts, np.nextafter(cuts, np.inf)])
            eer = min(max(np.mean(genuine < cut), np.mean(impostor >= cut)) for cut in cuts)
            assert rate["eer"] == pytest.approx(eer)
            assert float(line[2].split()[0]) == math.ceil(1000 * eer - 1e-9) / 10
            assert line[1] == f"{own[0]['radii'][index]:g}"


def test_radii_by_speaker_and_reasons_are_those_of_the_rows(page, runs):
    rows = by_rule(runs[0])
    _, *speakers = page.tables["speakers-0"]
    for speaker, count, right, certified, *shown in speakers:
        own = [row for row in rows["vote"] if row["speaker"] == speaker]
        radii = [radius(row) for row in own]
        assert (int(count), int(certified)) == (len(own), sum(one > 0 for one in radii))
        assert int(right) == sum(row["prediction"] == speaker for row in own)
        for cell, value in zip(shown, (min(radii), median_low(radii), max(radii)), strict=True):
            assert float(cell) <= value
            assert float(cell) == pytest.approx(value, rel=0.01)
    dots = Counter((dot["rule"], dot["utterance"], dot["radius"]) for dot in page.figures["radii-waveform"]["dots"])
    sound = {rule: own for rule, own in rows.items() if not rule.startswith("published")}
    assert dots == Counter((rule, row["utterance"], radius(row)) for rule, own in sound.items() for row in own)
    _, *reasons = page.tables["abstentions-0"]
    for rule, own in rows.items():
        shown = {reason: int(count) for name, reason, count, _ in reasons if name.split()[0] == rule}
        counts = Counter(row["abstained"] for row in own if row["abstained"] is not None)
        for reason, count in counts.items():
            assert shown[reason] == count
        assert sum(shown.values()) == sum(radius(row) == 0 for row in own)


def test_attacks_are_those_of_the_rows_and_called_empirical(page, runs):
    heading, *lines = page.tables["attacks"]
    groups = [(folder, at) for folder in runs[2:] for at in sorted({row["radius"] for row in lines_of(folder)})]
    for line, (folder, at) in zip(lines, groups, strict=True):
        own = [row for row in lines_of(folder) if row["radius"] == at]
        success = 100 * np.mean([row["success"] for row in own])
        assert line[heading.index("success %")].split()[0] == f"{success:.1f}"
        assert line[heading.index("budget")] == f"{at:g} l2"
    assert "empirical, not a proof" in page.text


def test_settings_commands_and_hashes_are_those_of_the_runs(page, runs):
    for index, folder in enumerate(runs):
        summary = json.loads((folder / "summary.json").read_text())
        shown = dict(page.tables[f"settings-{index}"][1:])
        assert shown["checkpoint_hash"] == lines_of(folder)[0]["encoder"] == summary["checkpoint_hash"]
        assert shown["seed"] == str(summary["settings"]["seed"])
        assert {f"version of {name}" for name in summary["versions"]} <= shown.keys()
    assert page.text.count("voxcert certify --config") == 2
    assert f"voxcert report {' '.join(folder.name for folder in runs)} --output again.html" in page.text
    assert str(runs[0].parent) not in page.text, "the page says nothing of the machine"


def test_the_words_of_the_tables_are_explained(written, page):
    promise = re.search(r'<h2 id="promise">(.*?)</section>', written.read_text(), flags=re.DOTALL)[1]
    verifiers = {line[0] for line in page.tables["trials-0"][1:]}
    assert verifiers == {"vote", "embedding"}
    assert all(f"<em>{word}</em>" in promise for word in (*verifiers, "Sigma"))
    assert "Here alpha is 0.001: of 1,000 certificates, at worst 1 is expected to be wrong." in promise


def test_nothing_is_called_proved_that_is_not(runs, tmp_path):
    folder = tmp_path / "printed"
    shutil.copytree(runs[0], folder)
    published = [row for row in lines_of(folder) if row["rule"] == "published_mean"]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in published))
    page = Page(write_report([folder], tmp_path / "report.html").read_text())
    assert "Nothing was proved: the published rules are not a guarantee." in page.text
    assert "Proved for" not in page.text
    assert "covered: proved" not in page.text
    assert [line[0] for line in page.tables["certified-0"][1:]] == ["published_mean (not a guarantee)"]
    assert "the answer is proved" not in page.text
    assert "so there is no radius to play" in page.text
    assert "Radii by speaker, rule published_mean (not a guarantee)" in page.text
    page = Page(write_report([runs[3]], tmp_path / "attack.html").read_text())
    assert "Nothing: no certification is among these runs." in page.text


def answered(folder):
    """Makes a run of attacks one whose system answered rightly before each attack."""
    rows = [row | {"abstained_before": False, "clean": row["expected"]} for row in lines_of(folder)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_system_that_did_not_answer_shows_no_certificate_unbroken(runs, tmp_path):
    """Sixteen noisy copies are too few for an answer: nothing was tried."""
    certified, attacked = (shutil.copytree(run, tmp_path / run.name) for run in (runs[0], runs[2]))
    assert {row["abstained_before"] for row in lines_of(attacked)} == {True}
    page = Page(write_report([certified, attacked], tmp_path / "report.html").read_text())
    assert "ertificate was broken" not in page.text
    assert {line[page.tables["budgets-0"][0].index("broken by attack (smoothed, vote)")] for line in lines(page)} == {
        "not tried"
    }
    answered(attacked)
    page = Page(write_report([certified, attacked], tmp_path / "report.html").read_text())
    assert "No certificate was broken." in page.text


def test_an_attack_that_gave_the_recordings_back_tried_nothing(runs, tmp_path):
    certified, attacked = (shutil.copytree(run, tmp_path / run.name) for run in (runs[0], runs[3]))
    unchanged = {"l2": 0.0, "linf": 0.0, "snr_db": None}
    rows = [row | unchanged | {"adversarial": row["clean"]} for row in lines_of(attacked)]
    (attacked / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = Page(write_report([certified, attacked], tmp_path / "report.html").read_text())
    place = page.tables["budgets-0"][0].index("broken by attack (bare encoder)")
    assert {line[place] for line in lines(page)} == {"not tried"}


def lines(page):
    return page.tables["budgets-0"][1:]


def test_attacks_on_the_bare_encoder_count_on_the_same_recordings_and_names_alone(runs, tmp_path):
    """Another crop has another norm; fewer enrolled speakers are another task; and one recording is of no run here."""
    attacked = shutil.copytree(runs[3], tmp_path / "bare")
    rows, (prototypes, names) = lines_of(attacked), read_prototypes(attacked)

    def shown(change, enrolled=4, run=runs[0]):
        write_prototypes(attacked, prototypes[:enrolled], names[:enrolled])
        (attacked / "rows.jsonl").write_text("".join(json.dumps(row | change(row)) + "\n" for row in rows))
        page = Page(write_report([run, attacked], tmp_path / "report.html").read_text())
        return [line[page.tables["budgets-0"][0].index("broken by attack (bare encoder)")] for line in lines(page)]

    counts = shown(lambda row: {})
    assert any(cell.endswith(" of 8") for cell in counts)
    for own in (shown(lambda row: {"snr_db": row["snr_db"] + 0.1}), shown(lambda row: {}, enrolled=3)):
        assert set(own) == {"not tried"}
    older, run = (
        [line | {"waveform_norm": 0.0} for line in lines_of(runs[0])],
        shutil.copytree(runs[0], tmp_path / "older"),
    )
    (run / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in older))
    assert any(cell.endswith(" of 8") for cell in shown(lambda row: {}, run=run))
    first = rows[0]["utterance"]
    fewer = shown(lambda row: {"utterance": "elsewhere"} if row["utterance"] == first else {})
    assert any(cell.endswith(" of 7") for cell in fewer)
    assert not any(cell.endswith(" of 8") for cell in fewer)


def test_attacks_on_waveforms_say_nothing_of_certificates_elsewhere(runs, tmp_path):
    """The same encoder, speakers, sigma and rule, but noise at the features: radii are norms of something else."""
    folder, attacked = (shutil.copytree(run, tmp_path / run.name) for run in (runs[0], runs[2]))
    answered(attacked)
    large = [row | {"radius": 1e9 * row["radius"]} for row in lines_of(folder)]
    pages = {}
    for place in ("waveform", "features"):
        rows = [row | {"noise_at": place} for row in large]
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        pages[place] = Page(write_report([folder, attacked], tmp_path / "report.html").read_text())
    assert "ertificate was broken" in pages["waveform"].text
    assert pages["waveform"].figures["accuracy-waveform"]["norm"] is not None
    assert "dB below that utterance" in pages["waveform"].text
    assert "ertificate was broken" not in pages["features"].text
    assert pages["features"].figures["accuracy-features"]["norm"] is None
    assert "dB below that utterance" not in pages["features"].text


def test_radii_of_different_representations_have_figures_of_their_own(runs, tmp_path):
    """Certified rates and radii too: an axis is about norms of one thing, and runs say where their noise enters."""
    elsewhere = []
    for run in runs[:2]:
        folder = shutil.copytree(run, tmp_path / f"{run.name}-features")
        (folder / "rows.jsonl").write_text(
            "".join(json.dumps(row | {"noise_at": "features"}) + "\n" for row in lines_of(folder))
        )
        config = (folder / "config.yaml").read_text()
        assert "noise_at: waveform\n" in config
        (folder / "config.yaml").write_text(config.replace("noise_at: waveform\n", "noise_at: features\n"))
        elsewhere.append(folder)
    page = Page(write_report([*runs[:2], *elsewhere], tmp_path / "report.html").read_text())
    places, units = ("waveform", "features"), ("waveform in [-1, 1]", "of the features")
    assert page.figures.keys() == {
        "det",
        *(f"{kind}-{one}" for kind in ("accuracy", "radii", "rates") for one in places),
    }
    for place, unit, at in zip(places, units, ("", ", noise at the features"), strict=True):
        name = f"tiny{at}, sigma {SIGMA:g}"
        assert {page.figures[f"{kind}-{place}"]["unit"] for kind in ("accuracy", "radii", "rates")} == {unit}
        assert {dot["system"] for dot in page.figures[f"radii-{place}"]["dots"]} == {name}
        assert {curve["system"] for curve in page.figures[f"rates-{place}"]["curves"]} == {f"{name}, verification"}


def test_attacks_on_claims_are_held_against_their_certificates(runs, tmp_path):
    """Every trial of `vote` attacked within 0.005, at a threshold where half of the genuine ones are certified."""
    attacked, at = shutil.copytree(runs[2], tmp_path / "claims"), 0.005
    shutil.copy(runs[1] / "prototypes.safetensors", attacked)
    trials = [row for row in lines_of(runs[1]) if row["verifier"] == "vote"]
    place = trials[0]["radii"].index(at)
    genuine = [row["lower"][place] for row in trials if row["claim"] == row["speaker"]]
    impostor = [row["upper"][place] for row in trials if row["claim"] != row["speaker"]]
    threshold = sorted(genuine)[len(genuine) // 2]
    certified = sum(bound >= threshold for bound in genuine) + sum(bound < threshold for bound in impostor)

    def shown(l2, turns):
        rows = []
        for row in trials:
            is_own = row["claim"] == row["speaker"]
            right, wrong = (row["claim"], None) if is_own else (None, row["claim"])
            values = {name: row[name] for name in ("utterance", "speaker")} | {"scenario": "sv", "threshold": threshold}
            values |= {"target": None if is_own else row["claim"], "expected": right, "clean": right, "success": False}
            turned = is_own and row["lower"][place] == max(genuine) and turns
            values |= {
                "adversarial": wrong if turned else right,
                "score": row["score"],
                "radius": at,
                "l2": l2,
                "linf": l2,
            }
            rows.append(lines_of(runs[2])[0] | values | {"abstained": False, "abstained_before": False})
        (attacked / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return Page(write_report([runs[1], attacked], tmp_path / "report.html").read_text())

    page = shown(at, turns=False)
    said = f"attacks within 0.005 on {certified} trials that are certified there turned"
    assert "No certificate was broken." in page.text
    assert f"{said} 0 decisions." in page.text
    heading, line = page.tables["claims-0"]
    assert dict(zip(heading, line, strict=True))["certified trials"] == str(certified)
    (name,) = {row["utterance"] for row in trials if row["lower"][place] == max(genuine) and row["score"] > 0}
    broken = shown(at, turns=True).text
    assert "A certificate was broken" in broken
    assert re.search(rf"{said} 1 decisions: {name} as speaker\d\.", broken)
    assert "ertificate was broken" not in shown(0.0, turns=False).text, "an attack that changed nothing tried nothing"
    assert "claims-0" not in Page(write_report(runs, tmp_path / "report.html").read_text()).tables


def test_trials_of_one_kind_are_no_error_rates_yet(runs, tmp_path):
    folder = shutil.copytree(runs[1], tmp_path / "cut")
    (folder / "summary.json").unlink()
    rows = [row for row in lines_of(folder) if row["claim"] == row["speaker"]][:1]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = Page(write_report([folder], tmp_path / "report.html").read_text())
    assert "Nothing was proved so far: error rates need genuine and impostor trials" in page.text
    assert "no certification is among these runs" not in page.text


def test_an_unfinished_run_says_so_on_top(runs, tmp_path):
    folder = tmp_path / "cut"
    shutil.copytree(runs[0], folder)
    (folder / "summary.json").unlink()
    rows = lines_of(folder)
    kept = {row["utterance"] for row in rows[:9]}
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows if row["utterance"] in kept))
    text = write_report([folder], tmp_path / "report.html").read_text()
    total = len({row["utterance"] for row in rows})
    assert f"{len(kept)} of {total} utterances" in text
    assert text.index('id="unfinished"') < text.index('id="proved"')
    assert f"the {len(kept)} utterances done so far" in text
    assert "without the rows of other processes" not in text
    (folder / "rows.rank1.jsonl").write_text("")
    attacked = shutil.copytree(runs[2], tmp_path / "attacked")
    (attacked / "summary.json").unlink()
    (attacked / "rows.rank2.jsonl").write_text("")
    text = write_report([folder, attacked], tmp_path / "report.html").read_text()
    assert text.count(" utterances, without the rows of other processes: start the run again to merge them") == 1
    assert text.count("8 utterances so far, without the rows of other processes") == 1
    assert 'id="unfinished"' not in write_report([runs[0]], tmp_path / "whole.html").read_text()


def test_a_page_can_do_without_voices(runs, tmp_path):
    """It holds no recording and no spectrogram of one, says why, and says the command that leaves them out again."""
    heard, silent = (write_report(runs, tmp_path / "page.html", sounds=sounds).read_text() for sounds in (True, False))
    assert "data:audio" in heard
    assert "made without recordings" not in heard
    assert "data:audio" not in silent
    assert "data:image/png" not in silent
    assert "made without recordings" in silent
    assert "again.html --sounds false" in silent
    assert Page(silent).tables == Page(heard).tables


def test_names_are_text_and_no_markup(runs, tmp_path):
    folder = tmp_path / "odd"
    shutil.copytree(runs[0], folder)
    rows = [row | {"utterance": f"</script><b onclick=1>{row['utterance']}"} for row in lines_of(folder)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = write_report([folder], tmp_path / "report.html", title="<i>mine</i>").read_text()
    assert "<b onclick" not in text
    assert "<i>mine" not in text
    assert Page(text).figures["radii-waveform"]["dots"][0]["utterance"].startswith("</script><b")


def hearing_rows(folder):
    """A margin for every certificate: of the first utterance 0, of the next 1, ..."""
    rows = lines_of(folder)
    places = {name: place for place, name in enumerate(dict.fromkeys(row["utterance"] for row in rows))}
    about = ("utterance", "speaker", "rule", "sigma")
    values = {"radius": 0.01, "norm_bound": 1.0, "encoder": ""}
    return [{name: row[name] for name in about} | values | {"margin_db": places[row["utterance"]]} for row in rows]


def write_hearing(folder, rows):
    (folder / "hearing.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_hearing_margins_of_some_utterances_are_not_shown_as_those_of_all(runs, tmp_path):
    """Measured while the run was at it, which then finished."""
    folder = shutil.copytree(runs[0], tmp_path / "run")
    rows = hearing_rows(folder)
    write_hearing(folder, [row for row in rows if row["margin_db"] < 3])
    page = Page(write_report([folder], tmp_path / "report.html").read_text())
    assert "hearing" not in page.tables
    assert f"tiny, sigma {SIGMA:g}: measured for 3 of 8 utterances: run voxcert hearing again." in page.text
    assert "voxcert hearing run" in page.text, "how to measure the rest"


def test_hearing_margins_are_shown_where_there_are_some(runs, tmp_path):
    folder = shutil.copytree(runs[0], tmp_path / "run")
    margins = hearing_rows(folder)
    write_hearing(folder, margins)
    heading, line, *_ = Page(write_report([folder], tmp_path / "report.html").read_text()).tables["hearing"]
    assert line[:4] == [f"tiny, sigma {SIGMA:g}", "vote", f"{SIGMA:g}", "8 of 8"]
    assert dict(zip(heading, line, strict=True))["g of 50%"] == "3.0"
    assert "voxcert hearing run" in (tmp_path / "report.html").read_text(), "how to repeat it"
    without = Page(write_report([runs[0]], tmp_path / "report.html").read_text())
    assert "hearing" not in without.tables
    assert "voxcert hearing" not in without.text


def test_runs_whose_folders_end_alike_are_two_runs(runs, tmp_path):
    for name in ("audit-en", "audit-de"):
        folder = shutil.copytree(runs[0], tmp_path / name / "certify")
        write_hearing(folder, hearing_rows(folder))
    folders = [tmp_path / name / "certify" for name in ("audit-en", "audit-de", "audit-en/../audit-de")]
    page = Page(write_report(folders, tmp_path / "report.html").read_text())
    names = [f"tiny, sigma {SIGMA:g} ({name}/certify)" for name in ("audit-en", "audit-de")]
    assert {curve["system"] for curve in page.figures["accuracy-waveform"]["curves"]} == set(names)
    assert list(dict.fromkeys(line[0] for line in page.tables["hearing"][1:])) == names


@pytest.mark.parametrize(("folders", "message"), [([], "folders must name"), (["none"], "none must be the folder")])
def test_what_is_no_run_is_an_error(folders, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write_report(folders, tmp_path / "report.html")


def test_the_libraries_are_those_that_were_published():
    vendor = Path(report.__file__).parent / "vendor"
    noted = re.findall(r"^([0-9a-f]{64})  (\S+)$", (vendor / "LICENSES.txt").read_text(), flags=re.MULTILINE)
    scripts = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in vendor.glob("*.js")}
    assert scripts == {name: digest for digest, name in noted}
