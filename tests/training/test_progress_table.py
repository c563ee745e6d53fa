from voxcert.training.progress_table import add_lines, forget_later


def test_a_step_that_comes_again_replaces_its_lines_and_no_others(tmp_path):
    table = tmp_path / "certification" / "curves.csv"
    for epoch, step, value in [(0, 10, 0.1), (1, 20, 0.2), (1, 2, 0.5), (1, 20, 0.3)]:
        add_lines(table, "rule,value", epoch, step, [f"vote,{value}", f"mean,{value}"])
    lines = ["epoch,step,rule,value", "0,10,vote,0.1", "0,10,mean,0.1", "1,2,vote,0.5", "1,2,mean,0.5"]
    assert table.read_text().splitlines() == [*lines, "1,20,vote,0.3", "1,20,mean,0.3"]


def test_a_training_that_begins_or_goes_on_forgets_what_came_later(tmp_path):
    table = tmp_path / "curves.csv"
    forget_later(tmp_path / "missing", 0)
    for epoch, step in [(0, 0), (0, 9), (1, 10), (2, 20), (10, 100)]:
        add_lines(table, "value", epoch, step, ["0.5"])
        for name in ("", "trials-"):
            (tmp_path / f"{name}epoch={epoch}-step={step}.jsonl").touch()
    others = {"report.html": "", "empty.csv": "", "mine.csv": "name,value\nx,y\n", "epoch=1-step=90-notes.txt": "mine"}
    for name, text in others.items():
        (tmp_path / name).write_text(text)
    for step, kept in [(10, ["0,9", "1,10"]), (0, [])]:
        forget_later(tmp_path, step)
        assert table.read_text().splitlines() == ["epoch,step,value", *(f"{one},0.5" for one in kept)]
        files = {f"{name}epoch={one}.jsonl".replace(",", "-step=") for one in kept for name in ("", "trials-")}
        assert {path.name for path in tmp_path.glob("*.jsonl")} == files
    assert {name: (tmp_path / name).read_text() for name in others} == others
