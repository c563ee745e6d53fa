import pytest
import torch

from voxcert.attacks import Counted, CrossEntropy, ExpectationOverNoise, Margin, Verification
from voxcert.encoders.base import Recognizer
from voxcert.evaluation.attack.settings import AttackSettings
from voxcert.evaluation.attack.trials import Trial
from voxcert.evaluation.attack.victim import Decision, Victim, balanced_threshold
from voxcert.evaluation.metrics.detection import equal_error_rate
from voxcert.smoothing.sampler import NoisySampler

SPEAKERS = ["a", "b", "c"]


@pytest.fixture
def recognizer(toy):
    encoder, data = toy
    with torch.no_grad():
        return Recognizer(encoder, encoder(torch.stack([data.centers[name] for name in SPEAKERS])), SPEAKERS)


@pytest.fixture
def waveform(toy):
    return torch.stack([item["waveform"] for item in toy[1].items("test")[:6:2]])


def victim(recognizer, threshold=None, **changes):
    return Victim(recognizer, AttackSettings("run", **changes), threshold)


def trial(**changes):
    return Trial(**{"index": 0, "utterance": "u", "speaker": "a", "expected": "a", "target": None} | changes)


def test_a_recognizer_decides_by_its_scores(recognizer, waveform):
    scores = victim(recognizer).scores(waveform, ["u", "v", "w"])
    torch.testing.assert_close(scores, recognizer(waveform).double())
    best = [Decision(SPEAKERS[i]) for i in recognizer(waveform).argmax(dim=1)]
    assert victim(recognizer).decide(waveform, [trial()] * 3) == best


@pytest.mark.parametrize("decision", ["mean", "vote"])
def test_smoothing_averages_over_noise_that_depends_on_seed_and_utterance(recognizer, waveform, decision):
    smoothed = victim(recognizer, sigma=0.2, decision=decision, num_eval=50, batch_size=7, seed=3)
    rows = recognizer(NoisySampler(waveform[1], 0.2, 3, "v").batch(0, 50))
    votes = torch.nn.functional.one_hot(rows.argmax(dim=1), 3)
    expected = (votes if decision == "vote" else rows).double().mean(dim=0)
    scores = smoothed.scores(waveform, ["u", "v", "w"])
    torch.testing.assert_close(scores[1], expected, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(smoothed.scores(waveform[1:2], ["v"])[0], scores[1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("decision", ["mean", "vote"])
def test_a_smoothed_closed_set_answers_as_the_deployed_classifier(recognizer, waveform, decision):
    smoothed = victim(recognizer, sigma=0.01, decision=decision, num_eval=200, seed=3)
    answers = smoothed.decide(waveform, [trial(utterance=name) for name in "uvw"])
    assert answers == [Decision(SPEAKERS[i]) for i in recognizer(waveform).argmax(dim=1)], "this noise turns nothing"
    again = smoothed.decide(waveform[1:2], [trial(utterance="v")])
    assert again == answers[1:2], "the answer depends on seed and utterance alone"


@pytest.mark.parametrize("decision", ["mean", "vote"])
def test_a_smoothed_closed_set_abstains_where_nothing_is_safe(recognizer, decision):
    between = (recognizer.encoder.weight @ (recognizer.prototypes[0] + recognizer.prototypes[1]))[None]
    (answer,) = victim(recognizer, sigma=1.0, decision=decision, num_eval=40).decide(
        0.01 * between / between.abs().max(), [trial()]
    )
    assert answer == Decision(None, abstained=True)


@pytest.mark.parametrize("decision", ["mean", "vote"])
def test_a_smoothed_verifier_answers_as_the_deployed_one(recognizer, waveform, decision):
    trials = [trial(utterance=name, target="a") for name in "uvw"]  # spoken by a, a and b
    scores = victim(recognizer, scenario="sv", sigma=0.01, decision=decision, num_eval=200).scores(waveform, "uvw")
    own, other = float(scores[0, 0]), float(scores[2, 0])
    threshold = (own + other) / 2
    smoothed = victim(recognizer, threshold, scenario="sv", sigma=0.01, decision=decision, num_eval=200)
    answers = smoothed.decide(waveform, trials)
    assert answers[0] == Decision("a", score=own), "with the score over all draws, however few the answer took"
    assert answers[2] == Decision(None, score=other)
    at_its_score = victim(recognizer, own, scenario="sv", sigma=0.01, decision=decision, num_eval=60)
    (unsure,) = at_its_score.decide(waveform[:1], trials[:1])
    assert (unsure.name, unsure.abstained) == (None, True)
    assert unsure.score == pytest.approx(own, abs=0.05)


def test_by_vote_the_score_of_a_claim_is_the_median(recognizer, waveform):
    smoothed = victim(recognizer, scenario="sv", sigma=0.2, decision="vote", num_eval=51, batch_size=7, seed=3)
    rows = recognizer(NoisySampler(waveform[1], 0.2, 3, "v").batch(0, 51)).double()
    expected = rows.sort(dim=0).values[25]
    torch.testing.assert_close(smoothed.scores(waveform[1:2], ["v"])[0], expected, rtol=1e-5, atol=1e-7)
    assert smoothed.exposed(recognizer.encoder, 0).scale is None, "what the attack sees are cosines"


def test_thresholds_reject_and_refuse(recognizer):
    scores = torch.tensor([[0.5, 0.4, 0.0], [0.3, 0.6, 0.0], [0.1, 0.2, 0.3]], dtype=torch.float64)
    trials = [trial(), trial(target="b"), trial(target="c")]
    assert victim(recognizer).decide_by_scores(scores, trials) == ["a", "b", "c"]
    assert victim(recognizer, 0.4, scenario="osi").decide_by_scores(scores, trials) == ["a", "b", None]
    claims = victim(recognizer, 0.3, scenario="sv")
    assert claims.decide_by_scores(scores, trials) == ["a", "b", "c"]
    assert victim(recognizer, 0.55, scenario="sv").decide_by_scores(scores, trials) == [None, "b", None]


@pytest.mark.parametrize(("scenario", "threshold"), [("csi", None), ("osi", 0.35), ("sv", 0.35)])
@pytest.mark.parametrize("targeted", [True, False])
def test_attack_and_system_agree_on_success(recognizer, scenario, threshold, targeted):
    scores = 2 * torch.rand(40, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 1
    expected = None if scenario == "osi" or (scenario == "sv" and targeted) else "a"
    one = trial(expected=expected, target="b" if targeted else None)
    system = victim(recognizer, threshold, scenario=scenario, targeted=targeted)
    labels = torch.full((40,), one.label(SPEAKERS))
    wanted = system.objective(None).succeeded(scores, labels, targeted).tolist()
    assert [one.succeeded(decision) for decision in system.decide_by_scores(scores, [one] * 40)] == wanted
    assert 0 < sum(wanted) < 40


def test_objectives_are_those_of_the_attack_at_the_threshold_of_the_system(recognizer):
    assert victim(recognizer).objective(Margin(0.7)) == Margin(None)
    assert victim(recognizer, 0.3, scenario="osi").objective(CrossEntropy()) == CrossEntropy(0.3)
    assert victim(recognizer, 0.3, scenario="sv").objective(Verification(0.9)) == Verification(0.3)
    vote = victim(recognizer, sigma=0.1, decision="vote")
    assert vote.objective(CrossEntropy()).scale == 1, "log-probabilities are not scaled again"
    with pytest.raises(ValueError, match="must be Verification or null in the scenario sv, got Margin"):
        victim(recognizer, 0.3, scenario="sv").objective(Margin())
    with pytest.raises(ValueError, match="must be Margin, CrossEntropy or null, got Verification"):
        victim(recognizer).objective(Verification(0.3))


def test_an_attack_sees_an_expectation_over_noise_of_its_own(recognizer, waveform):
    assert torch.equal(victim(recognizer).exposed(recognizer.encoder, 0)(waveform), recognizer(waveform))
    smoothed = victim(recognizer, sigma=0.2, num_noise=3, num_eval=3)
    exposed = smoothed.exposed(recognizer.encoder, 5)
    assert isinstance(exposed, ExpectationOverNoise)
    assert (exposed.sigma, exposed.num_samples, exposed.scale) == (0.2, 3, None)
    assert not torch.allclose(exposed(waveform).double(), smoothed.scores(waveform, ["u", "v", "w"]), atol=1e-4)
    votes = victim(recognizer, sigma=0.2, decision="vote").exposed(recognizer.encoder, 5)(waveform)
    torch.testing.assert_close(votes.exp().sum(dim=1), torch.ones(3))


def test_an_attack_goes_through_the_encoder_that_it_is_given(recognizer, waveform):
    counted = Counted(recognizer.encoder)
    victim(recognizer).exposed(counted, 0)(waveform)
    assert counted.forwards == 3
    smoothed = victim(recognizer, sigma=0.2, num_noise=4)
    smoothed.exposed(counted, 0)(waveform)
    assert counted.forwards == 3 + 4 * 3
    smoothed.decide(waveform, [trial()] * 3)
    assert counted.forwards == 3 + 4 * 3, "decisions are no part of the attack"


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
