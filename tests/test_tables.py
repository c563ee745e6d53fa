"""The tables of the docs are those of the rows that are kept beside them."""

import importlib.util
import json
import lzma
from pathlib import Path

import pytest

from voxcert.evaluation.attack.row import AttackRow
from voxcert.evaluation.hearing.job import HEARING, hearing_row
from voxcert.evaluation.planning.row import PilotRow
from voxcert.evaluation.run.folder import ROWS, write_summary
from voxcert.rows import read_rows, replace_rows
from voxcert.smoothing import Certificate, CertifiedScore

DOCS = Path(__file__).parents[1] / "docs"
PAGE = "Text.\n\n<!-- table: certified mine --radii 0 0.01 -->\n\nold\n\n<!-- end -->\n\nMore.\n"


@pytest.fixture
def tables(monkeypatch, tmp_path):
    specification = importlib.util.spec_from_file_location("tables", DOCS / "tables.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def elsewhere(tables, monkeypatch, tmp_path):
    monkeypatch.setattr(tables, "RESULTS", tmp_path / "results")
    return tables


def certificate(utterance, rule, radius):
    values = {"sigma": 0.01, "alpha": 1e-3, "num_select": 10, "num_estimate": 100, "num_forwards": 110, "seconds": 1.0}
    about = {"utterance": utterance, "speaker": "a", "prediction": "a", "rule": rule, "seed": 0}
    return Certificate(**about, **values, radius=radius, abstained=None, point_radius=radius)


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    rows = [certificate(f"u{i}", rule, 0.004 * i) for i in (1, 2, 3) for rule in ("vote", "mean")]
    replace_rows(folder / ROWS, rows)
    write_summary(folder, {"settings": {}, "command": "certify --checkpoint checkpoints/mini --sigma 0.01"})
    return folder


@pytest.mark.parametrize("page", [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda path: path.stem)
def test_pages_show_what_their_rows_say(tables, page):
    text = page.read_text()
    assert tables.redrawn(text) == text, "run make tables"


def test_results_are_small():
    files = [path for path in (DOCS / "results").rglob("*") if path.is_file()]  # what a folder takes is the disk's
    assert sum(path.stat().st_size for path in files) <= 10 * 2**20


def test_a_kept_run_is_drawn_into_its_page(elsewhere, run):
    elsewhere.keep(run, "mine")
    kept = elsewhere.RESULTS / "mine" / "rows.jsonl.xz"
    assert lzma.decompress(kept.read_bytes()) == (run / ROWS).read_bytes()
    new = elsewhere.redrawn(PAGE)
    assert new.startswith("Text.\n\n<!-- table: certified mine --radii 0 0.01 -->\n\n| rule")
    assert new.endswith("|\n\n<!-- end -->\n\nMore.\n")
    (vote,) = [line for line in new.splitlines() if line.startswith("| vote")]
    assert "1.00 [0.43, 1.00]" in vote
    assert "0.33 [0.06, 0.80]" in vote
    assert elsewhere.redrawn(new) == new


def test_several_runs_have_a_line_for_each_rule(elsewhere, run):
    for name in ("one", "two"):
        elsewhere.keep(run, name)
    table = elsewhere.certified(["one", "two", "--radii", "0.01", "--rules", "vote"])
    assert [line.split("|")[3].strip() for line in table.splitlines()[2:]] == ["`vote`", "`vote`"]
    assert "mini" in table


def test_figures_are_drawn(elsewhere, run, tmp_path):
    elsewhere.keep(run, "mine")
    elsewhere.draw_figure(["mine"], tmp_path / "figure.png")
    elsewhere.draw_figure(["mine", "mine"], tmp_path / "both.png")
    assert (tmp_path / "figure.png").read_bytes()[:4] == (tmp_path / "both.png").read_bytes()[:4] == b"\x89PNG"


def test_a_soak_is_drawn_from_its_samples(tables, tmp_path):
    samples = [{"minute": one, "memory_bytes": 9e8, "open_files": 7, "threads": 3} for one in (0.0, 1.0)]
    (tmp_path / "soak.json").write_text(json.dumps({"samples": samples}))
    left, right = tables.soak_figure(tmp_path / "soak.json").axes
    assert left.get_lines()[0].get_ydata().tolist() == [900.0, 900.0]
    assert [line.get_ydata().tolist() for line in right.get_lines()] == [[7, 7], [3, 3]]
    tables.draw_figure(["soak"], tmp_path / "soak.png")
    assert (tmp_path / "soak.png").read_bytes()[:4] == b"\x89PNG"


def test_what_is_not_there_is_named(elsewhere, run, tmp_path):
    with pytest.raises(ValueError, match="must hold the rows of a run, got none"):
        elsewhere.redrawn(PAGE)
    with pytest.raises(ValueError, match="a table must be one of .*trials, .*got .pie x"):
        elsewhere.redrawn(PAGE.replace("certified mine --radii 0 0.01", "pie x"))
    (run / "summary.json").unlink()
    with pytest.raises(ValueError, match=r"finished run, got one without summary\.json"):
        elsewhere.keep(run, "mine")


def test_a_verification_run_is_drawn_from_its_rows(elsewhere, tmp_path):
    values = {"radii": [0.0, 0.1], "failed": None, "sigma": 0.1, "alpha": 1e-3, "num_select": 10, "num_estimate": 100}
    values |= {"num_forwards": 110, "seconds": 1.0, "seed": 0, "open_set": False, "enrolled": True, "score": 0.5}
    rows = [
        CertifiedScore(utterance=s, speaker=s, claim=c, verifier="vote", lower=low, upper=[0.6, 0.8], **values)
        for s in "ab"
        for c, low in ((s, [0.5, 0.3]), ("ab".replace(s, ""), [0.1, 0.0]))
    ]
    replace_rows(tmp_path / "run" / ROWS, rows)
    write_summary(tmp_path / "run", {"settings": {"task": "verification", "threshold": 0.4}})
    elsewhere.keep(tmp_path / "run", "claims")
    new = elsewhere.redrawn("<!-- table: trials claims -->\n<!-- end -->\n")
    assert "| vote     | 0.1 " in new
    assert "| vote     | 0 " in new
    some = elsewhere.redrawn("<!-- table: trials claims --verifiers vote --radii 0.1 -->\n<!-- end -->\n")
    assert "| vote     | 0.1 " in some
    assert "| vote     | 0 " not in some
    with pytest.raises(ValueError, match="verifiers must be among vote, got embedding"):
        elsewhere.redrawn("<!-- table: trials claims --verifiers embedding -->\n<!-- end -->\n")
    elsewhere.draw_figure(["claims"], tmp_path / "rates.png")
    assert (tmp_path / "rates.png").stat().st_size > 10_000


def test_the_leaderboard_ranks_by_a_published_budget_and_gives_the_commands(elsewhere, run, tmp_path):
    better = [certificate(f"u{i}", "vote", 0.2) for i in (1, 2, 3)]
    replace_rows(tmp_path / "better" / ROWS, better)
    write_summary(tmp_path / "better", {"settings": {}, "command": "certify --checkpoint large.pt --sigma 0.1"})
    elsewhere.keep(run, "board-mini")
    elsewhere.keep(tmp_path / "better", "board-large")
    text = elsewhere.leaderboard(["board-*"])
    first, second = text.splitlines()[2:4]
    assert first.startswith("| large ")
    assert second.startswith("| mini ")
    assert "[`board-large`](#board-large)" in first
    assert "### board-mini\n```bash\ncertify --checkpoint checkpoints/mini --sigma 0.01\n```" in text
    shown = elsewhere.reached(["board-mini", "board-large", "--radii", "0.01", "0.1953125"]).splitlines()
    assert [cell.strip() for cell in shown[0].split("|")[1:-1]] == [
        "encoder",
        "sigma",
        "smoothed accuracy",
        "CA at 0.01",
        "CA at 0.195",
    ]
    assert [line.split("|")[1].strip() for line in shown[2:]] == ["large", "mini"]
    with pytest.raises(ValueError, match="docs/results must hold runs of a name like nobody"):
        elsewhere.leaderboard(["nobody"])


def test_pairs_of_runs_are_compared_on_the_same_utterances(elsewhere, run, tmp_path):
    shorter = [certificate(f"u{i}", "vote", 0.004 * i - 0.004) for i in (1, 2, 3)]
    replace_rows(tmp_path / "shorter" / ROWS, shorter)
    write_summary(tmp_path / "shorter", {"settings": {}, "command": "certify --checkpoint b"})
    elsewhere.keep(run, "a")
    elsewhere.keep(tmp_path / "shorter", "b")
    (line,) = elsewhere.paired(["a", "b", "--radii", "0.007"]).splitlines()[2:]
    assert line.startswith("| `vote` | -0.333 [")


def test_pilots_are_compared_with_the_first_of_them(elsewhere, tmp_path):
    samples, radii = [100, 1000], {"weak": ([0.1, 0.15], [0.1, 0.2]), "strong": ([0.1, 0.2], [0.15, 0.3])}
    for name, expected in radii.items():
        rows = [
            PilotRow(f"{speaker}/1", speaker, 0.1, "vote", speaker != "c", samples, radius, 80, 1.0)
            for speaker, radius in zip("abc", [*expected, [0.0, 0.0]], strict=True)
        ]
        replace_rows(tmp_path / name / ROWS, rows)
        command = f"voxcert plan --checkpoint checkpoints/{name} --sigmas '[0.1]'"
        write_summary(tmp_path / name, {"settings": {}, "command": command})
        elsewhere.keep(tmp_path / name, name)
    weak, strong = elsewhere.planned(["weak", "strong", "--radii", "0.1", "0.195"]).splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in (weak, strong)]
    assert cells[0] == ["weak", "0.1", "0.67", "0.67", "0.33", "0.117", "-"]
    assert cells[1][:6] == ["strong", "0.1", "0.67", "0.67", "0.67", "0.167"]
    assert cells[1][6] == "+0.33 [-1.00, +1.00]", "of three speakers, whose gains are 0, 1 and 0"
    (only,) = elsewhere.planned(["weak", "--radii", "0.1", "0.195", "--corpus", "b"]).splitlines()[2:]
    assert [cell.strip() for cell in only.strip("| ").split("|")][2:6] == ["1.00", "1.00", "1.00", "0.200"]
    pilots = [(name, read_rows(tmp_path / name / ROWS, PilotRow)) for name in ("weak", "strong")]
    (panel,) = elsewhere.pilots_figure(pilots).axes
    first, last = sorted(row.radii[row.samples.index(1000)] for row in pilots[0][1][:2])
    assert panel.get_lines()[0].get_xdata().tolist() == [0.0, first, last, last]
    assert panel.get_lines()[0].get_ydata().tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 3, 0.0])
    elsewhere.draw_figure(["planned", "weak", "strong"], tmp_path / "pilots.png")
    assert (tmp_path / "pilots.png").read_bytes()[:4] == b"\x89PNG"
    rows = read_rows(tmp_path / "weak" / ROWS, PilotRow)[1:]
    replace_rows(tmp_path / "weak" / ROWS, rows)
    elsewhere.keep(tmp_path / "weak", "fewer")
    with pytest.raises(ValueError, match="pilots must be about the same utterances and sigma, got others in fewer"):
        elsewhere.planned(["strong", "fewer", "--radii", "0.1"])


def test_judged_attacks_are_a_table(elsewhere, tmp_path):
    about = {"utterance": "u", "speaker": "a", "target": "b", "scenario": "sv", "expected": None, "attack": "bim"}
    judged = {"judge": "other", "judge_threshold": 0.5, "judge_before": 0.1, "judge_score": 0.6}
    row = AttackRow(**about, **judged, attack_settings={"epsilon": 4.0, "norm": "l2"}, seed=0, encoder="e", score=0.9)
    replace_rows(tmp_path / "run" / ROWS, [row])
    write_summary(tmp_path / "run", {"settings": {}})
    elsewhere.keep(tmp_path / "run", "judged")
    new = elsewhere.redrawn("<!-- table: transfers judged -->\n<!-- end -->\n")
    assert "| utterance | 4 l2   | e " in new
    assert "100.0 [20.7, 100.0]" in new


def test_kept_hearing_margins_are_a_table(elsewhere, run):
    rows = [hearing_row(one, 1.0) for one in read_rows(run / ROWS, Certificate) if one.rule == "vote"]
    replace_rows(run / HEARING, rows)
    elsewhere.keep(run, "mine")
    table = elsewhere.hearing(["mine"]).splitlines()
    assert table[0].split("|")[1:4] == [" system ", " rule   ", " sigma "]
    assert "| mini   | `vote` | 0.01  | 3 of 3    | 38.5       | 38.5     | 42.0     | 48.0     |" == table[2]
    with pytest.raises(ValueError, match="must hold the hearing margins of a run"):
        elsewhere.hearing(["nobody"])


def test_runs_that_differ_in_a_setting_stand_in_its_order(elsewhere, run, tmp_path):
    for number in (100, 20):
        settings = {"settings": {"num_enroll": number}, "num_speakers": 2 * number, "command": "certify"}
        write_summary(run, settings)
        elsewhere.keep(run, f"study-{number}")
    lines = elsewhere.varied(["num_enroll", "study-*", "--radii", "0.005"]).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["20", "100"]
    assert "num enroll" in lines[0]
    assert "0.66" in lines[2], "two of three, rounded down"
    speakers = elsewhere.varied(["num_speakers", "study-*", "--radii", "0.005"]).splitlines()
    assert [line.split("|")[1].strip() for line in speakers[2:]] == ["40", "200"], "the summary is asked too"
    elsewhere.draw_figure(["varied", "num_enroll", "study-*"], tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5000
    with pytest.raises(ValueError, match="runs must differ in alpha"):
        elsewhere.varied(["alpha", "study-*", "--radii", "0.005"])
    with pytest.raises(ValueError, match="of a name like nothing"):
        elsewhere.varied(["alpha", "nothing", "--radii", "0.005"])
