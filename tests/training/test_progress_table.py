from voxcert.training.progress_table import add_lines


def test_a_step_that_comes_again_replaces_its_lines_and_no_others(tmp_path):
    table = tmp_path / "certification" / "curves.csv"
    for epoch, step, value in [(0, 10, 0.1), (1, 20, 0.2), (1, 2, 0.5), (1, 20, 0.3)]:
        add_lines(table, "rule,value", epoch, step, [f"vote,{value}", f"mean,{value}"])
    lines = ["epoch,step,rule,value", "0,10,vote,0.1", "0,10,mean,0.1", "1,2,vote,0.5", "1,2,mean,0.5"]
    assert table.read_text().splitlines() == [*lines, "1,20,vote,0.3", "1,20,mean,0.3"]
