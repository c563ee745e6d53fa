import math

import pytest
from attacked import attack_row

from voxcert.evaluation.attack.row import AttackRow
from voxcert.evaluation.run.folder import ROWS
from voxcert.rows import read_rows, replace_rows


def test_rows_survive_the_file(tmp_path):
    rows = [attack_row("ü/0", target="b"), attack_row("1", snr_db=None, radius=0.1, failed="bad")]
    replace_rows(tmp_path / ROWS, rows)
    with (tmp_path / ROWS).open("a") as file:
        file.write('{"utterance": "torn')
    assert read_rows(tmp_path / ROWS, AttackRow) == rows


def test_right_decisions():
    assert attack_row().correct_before
    assert not attack_row().correct
    assert attack_row(expected=None, clean=None).correct_before, "nobody may be the right decision"
    assert not attack_row(expected=None, clean=None, failed="bad").correct_before
    assert attack_row(expected=None, clean=None, failed="bad", forwards=1).correct_before, "it was heard, then attacked"


def test_whom_an_utterance_claims_to_be():
    assert attack_row(target="b").claim == "b"
    assert attack_row(target=None).claim == attack_row().speaker


def test_an_utterance_given_back_was_not_changed_nor_one_that_was_only_rounded():
    assert attack_row(linf=1e-9).changed
    assert not attack_row(linf=0.0).changed
    assert not attack_row(failed="bad").changed
    assert not attack_row(linf=0.5 / 32768, file="u0.flac").changed
    assert attack_row(linf=1 / 32768, file="u0.flac").changed


@pytest.mark.parametrize("line", ["{}", "[]", "no", '{"utterance": "a"}'])
def test_other_lines_are_named(tmp_path, line):
    (tmp_path / ROWS).write_text(attack_row().to_json() + "\n" + line + "\n")
    with pytest.raises(ValueError, match=f"{ROWS}, line 2: no AttackRow"):
        read_rows(tmp_path / ROWS, AttackRow)


def test_numbers_that_json_lacks_are_refused():
    with pytest.raises(ValueError, match="JSON"):
        attack_row(l2=math.nan).to_json()


def test_a_row_is_one_line():
    assert "\n" not in attack_row("two\nlines").to_json()
    assert AttackRow.from_json(attack_row("two\nlines").to_json()).utterance == "two\nlines"
