"""A resumed training keeps its label map."""

from types import SimpleNamespace

import pytest

from voxcert.training.classes import check_classes, keep_classes


def module(classes):
    return SimpleNamespace(_trainer=SimpleNamespace(datamodule=SimpleNamespace(classes=classes)))


OLD = {"ben": 0, "carl": 1}


@pytest.fixture
def checkpoint():
    made = {}
    keep_classes(module(OLD), made)
    return made


def test_the_same_classes_go_on(checkpoint):
    check_classes(module(dict(OLD)), checkpoint)


def test_a_renamed_speaker_is_named(checkpoint):
    with pytest.raises(ValueError, match="'ben'.*'anna'.*init_from") as error:
        check_classes(module({"anna": 0, "carl": 1}), checkpoint)
    assert "1 gone" in str(error.value)
    assert "1 new" in str(error.value)


def test_one_more_speaker_is_named_before_any_size_mismatch(checkpoint):
    with pytest.raises(ValueError, match="1 new: 'dora'"):
        check_classes(module(OLD | {"dora": 2}), checkpoint)


def test_away_from_data_nothing_is_checked(checkpoint):
    check_classes(SimpleNamespace(_trainer=None), checkpoint)
    check_classes(module({"x": 0}), {})  # a checkpoint from before classes were noted
