import pytest
import torch

from voxcert.encoders.base import Recognizer
from voxcert.evaluation.attack_settings import AttackSettings
from voxcert.evaluation.recognition import equal_error_rate
from voxcert.evaluation.thresholds import balanced_threshold
from voxcert.evaluation.victims import Victim

CPU = torch.device("cpu")


@pytest.fixture
def parts(toy):
    encoder, data = toy
    with torch.no_grad():
        return Recognizer(
            encoder, encoder(torch.stack([data.centers[name] for name in "abc"])), list("abc")
        ), data.items("test")


def test_verification_balances_all_claims(parts):
    recognizer, items = parts
    scores = {
        item["utterance"]: recognizer(item["waveform"][None])[0].tolist() for item in items if "error" not in item
    }
    genuine = [row["abc".index(name[0])] for name, row in scores.items() if name[0] in "abc"]
    impostor = [
        score for name, row in scores.items() for other, score in zip("abc", row, strict=True) if other != name[0]
    ]
    found = balanced_threshold(Victim(recognizer, AttackSettings("run", scenario="sv")), items, CPU)
    assert (len(genuine), len(impostor)) == (9, 27), "d claims to be three others, and each of a, b and c two"
    assert found == equal_error_rate(genuine, impostor)


def test_an_open_set_balances_best_scores(parts):
    recognizer, items = parts
    best = {item["utterance"]: float(recognizer(item["waveform"][None]).max()) for item in items if "error" not in item}
    known = [score for name, score in best.items() if name[0] != "d"]
    strangers = [score for name, score in best.items() if name[0] == "d"]
    found = balanced_threshold(Victim(recognizer, AttackSettings("run", scenario="osi")), items, CPU)
    assert found == equal_error_rate(known, strangers)


def test_missing_trials_are_named(parts):
    recognizer, items = parts
    victim = Victim(recognizer, AttackSettings("run", scenario="osi"))
    with pytest.raises(ValueError, match="hold no impostor trials .* with 9 genuine and 0 impostors'"):
        balanced_threshold(victim, items[:9], CPU)
    with pytest.raises(ValueError, match="hold no genuine trials"):
        balanced_threshold(victim, items[9:], CPU)
