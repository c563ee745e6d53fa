import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from oracles import RIVALS, SOUND_RULES, HalfSpace, random_units
from scipy.stats import norm
from torch import nn

from voxcert.smoothing import ABSTAIN, RULES, Certifier
from voxcert.smoothing.sampler import GRID, NoisySampler, draw_error, round_to_grid
from voxcert.smoothing.tally import Tally

WEIGHT = torch.ones(8) / 8**0.5
WAVEFORM = 0.6 * WEIGHT  # 0.6 away from the boundary of the half-space


class Soft:
    """A smooth encoder, row by row the same whatever the batch: elementwise and summed in float64."""

    def __init__(self, dim: int = 16, time: int = 8) -> None:
        self.weight = torch.randn(time, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        self.largest_batch = 0

    def __call__(self, waveform):
        """Embeddings (batch, dim)."""
        self.largest_batch = max(self.largest_batch, len(waveform))
        hidden = torch.tanh((waveform.double()[:, :, None] * self.weight).sum(dim=1))
        return hidden / hidden.norm(dim=1, keepdim=True)


def half_space(**settings):
    defaults = {"sigma": 0.5, "rules": SOUND_RULES, "batch_size": 64, "num_select": 50, "num_estimate": 500}
    return Certifier(HalfSpace(WEIGHT), RIVALS, **defaults | settings)


def answer(row):
    """What must not depend on time."""
    return {name: value for name, value in asdict(row).items() if name != "seconds"}


def test_a_row_says_what_was_done():
    (row,) = half_space(rules=("vote",), speakers=("ann", "bob"), seed=5, encoder_id="hash").certify(
        WAVEFORM, "u", "ann"
    )
    assert (row.utterance, row.speaker, row.prediction, row.correct) == ("u", "ann", "ann", True)
    assert (row.rule, row.sigma, row.alpha, row.seed, row.encoder) == ("vote", 0.5, 1e-3, 5, "hash")
    assert (row.num_select, row.num_estimate, row.num_forwards) == (50, 500, 550)
    assert (row.num_samples, row.noise_at, row.abstained) == (8, "waveform", None)
    assert row.waveform_norm == pytest.approx(0.6, abs=3e-6)  # on the grid
    assert row.snr_db == pytest.approx(20 * math.log10(row.waveform_norm / row.radius))
    assert row.radius_rms == pytest.approx(row.radius / 8**0.5)
    assert 0 < row.radius < row.point_radius < 1.0
    assert row.seconds > 0


@pytest.mark.parametrize("num_looks", [1, 3])
def test_one_certificate_per_rule_in_their_order(num_looks):
    rules = ("mean", "vote", "published_se", "distribution", "lipschitz", "published_mean")
    rows = half_space(rules=rules, num_looks=num_looks).certify(WAVEFORM)
    assert tuple(row.rule for row in rows) == rules
    assert all(0 < row.radius for row in rows)


@pytest.mark.parametrize("batch_size", [1, 7, 16, 64])
def test_certificates_do_not_depend_on_the_batch_size(batch_size):
    prototypes = random_units(20, 16)
    rows, expected = (
        Certifier(
            Soft(), prototypes, sigma=0.05, rules=SOUND_RULES, num_estimate=200, num_looks=3, batch_size=size
        ).certify(WAVEFORM, "u")
        for size in (batch_size, 100)
    )
    for row, other in zip(rows, expected, strict=True):
        assert answer(row) | {"radius": 0, "radius_rms": 0, "snr_db": 0, "point_radius": 0} == answer(other) | {
            "radius": 0,
            "radius_rms": 0,
            "snr_db": 0,
            "point_radius": 0,
        }
        assert row.radius == pytest.approx(other.radius, rel=1e-9)  # sums in another order


def test_certificates_do_not_depend_on_the_order_of_utterances():
    certifier = half_space()
    forward = {u: [answer(r) for r in certifier.certify(WAVEFORM, u)] for u in ("a", "b", "c")}
    fresh = half_space()
    backward = {u: [answer(r) for r in fresh.certify(WAVEFORM, u)] for u in ("c", "b", "a")}
    assert forward == backward
    assert len({str([r["point_radius"] for r in rows]) for rows in forward.values()}) > 1  # counts may coincide


def test_selection_and_estimation_share_no_sample(monkeypatch):
    seen = []
    original = NoisySampler.batch

    def batch(self, start, stop):
        seen.extend(range(start, stop))
        return original(self, start, stop)

    monkeypatch.setattr(NoisySampler, "batch", batch)
    half_space(num_looks=3).certify(WAVEFORM)
    run = seen[1 + 64 :]  # after the probe
    assert len(run) == len(set(run)) == 550


def test_memory_does_not_grow_with_the_number_of_samples(monkeypatch):
    kept = []
    original = Tally.statistics

    def statistics(self, **plan):
        result = original(self, **plan)
        kept.append(sum(v.nbytes for v in vars(result).values() if isinstance(v, np.ndarray)))
        return result

    monkeypatch.setattr(Tally, "statistics", statistics)
    encoder = Soft()
    for num_estimate in (100, 5000):
        Certifier(encoder, random_units(5, 16), sigma=0.1, num_estimate=num_estimate, batch_size=50).certify(WAVEFORM)
    assert kept[0] == kept[1]
    assert encoder.largest_batch == 50


@pytest.mark.parametrize("num_looks", [1, 4])
def test_forwards_never_exceed_the_budget_and_looks_end_at_num_estimate(num_looks):
    certifier = half_space(num_estimate=333, num_looks=num_looks, tolerance=0.0)
    rows = certifier.certify(WAVEFORM)
    assert {(row.num_estimate, row.num_forwards) for row in rows} == {(333, 383)}


def test_a_target_radius_stops_sampling():
    rows = half_space(num_estimate=64_000, num_looks=6, target_radius=0.2).certify(WAVEFORM)
    assert rows[0].num_estimate == 2000
    assert all(row.radius >= 0.2 for row in rows)


def test_sampling_stops_where_it_is_not_worth_it():
    rows = half_space(num_estimate=64_000, num_looks=6, tolerance=0.2).certify(WAVEFORM)
    assert rows[0].num_estimate < 64_000
    full = half_space(num_estimate=64_000, num_looks=1).certify(WAVEFORM)
    for row, best in zip(rows, full, strict=True):
        assert row.radius > best.radius / 1.25


def test_hopeless_cases_stop_early_and_abstain():
    """Three classes with a third of the votes each and a mean embedding between two prototypes."""

    def encoder(waveform):
        third = (waveform[:, 0] / 0.5 * 1.0).abs()
        choice = (third > norm.ppf(2 / 3)).long() + (third > norm.ppf(5 / 6)).long()
        return torch.eye(3)[choice]

    rows = Certifier(
        encoder, torch.eye(3), sigma=0.5, num_estimate=100_000, num_looks=8, batch_size=1000, rules=("vote",)
    ).certify(torch.zeros(4))
    assert rows[0].abstained == "no majority"
    assert rows[0].num_estimate < 10_000
    assert (rows[0].radius, rows[0].snr_db, rows[0].radius_rms) == (ABSTAIN, None, 0.0)


@pytest.mark.parametrize("num_looks", [1, 2, 4])
def test_looks_are_free(monkeypatch, num_looks):
    """Every look may spend all of alpha, less the charge for drawing, and the last one counts."""
    spent = []
    monkeypatch.setitem(RULES, "vote", lambda statistics, alpha: spent.append(alpha) or 0.1 / len(spent))
    monkeypatch.setattr("voxcert.smoothing.certifier.settled", lambda *arguments: False)
    certifier = half_space(num_looks=num_looks, rules=("vote",), alpha=0.01)
    (row,) = certifier.certify(WAVEFORM)
    assert row.radius == 0.1 / num_looks
    assert spent == [0.01 - draw_error(8 * 500, 0.5, 2.0**-20)] * num_looks


def test_an_abstention_keeps_its_prediction_and_says_why():
    rows = {row.rule: row for row in half_space(num_estimate=4, speakers=("ann", "bob")).certify(WAVEFORM, "u", "ann")}
    assert rows["vote"].abstained == "no majority"
    assert rows["mean"].abstained == rows["distribution"].abstained == "lower bound not positive"
    assert all(row.radius == ABSTAIN and row.correct for row in rows.values())


def test_identical_prototypes_abstain():
    prototypes = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    certifier = Certifier(HalfSpace(WEIGHT), prototypes, sigma=0.5, rules=SOUND_RULES, batch_size=100)
    rows = {row.rule: row for row in certifier.certify(WAVEFORM)}
    for rule in ("mean", "lipschitz", "distribution"):
        assert rows[rule].abstained == "tied prototypes"


class Faulty(HalfSpace):
    """Returns a NaN or infinite embedding from the call number `when` on."""

    def __init__(self, value: float, when: int) -> None:
        super().__init__(WEIGHT)
        self.value, self.when, self.calls = value, when, 0

    def __call__(self, waveform):
        """Embeddings (batch, 2)."""
        self.calls += 1
        embeddings = super().__call__(waveform)
        if self.calls >= self.when:
            embeddings[:, 0] = self.value
        return embeddings


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("when", "prediction"), [(1, ""), (7, ""), (8, "0"), (11, "0")])
def test_embeddings_that_are_not_finite_abstain(value, when, prediction):
    certifier = Certifier(
        Faulty(value, when), RIVALS, sigma=0.5, num_estimate=500, rules=SOUND_RULES, batch_size=100, num_looks=2
    )
    for row in certifier.certify(WAVEFORM):
        assert (row.abstained, row.radius, row.point_radius) == ("non-finite or zero embeddings", 0.0, 0.0)
        assert row.prediction == prediction
        row.to_json()


@pytest.mark.parametrize("scale", [0.99, 1.01])
def test_embeddings_that_are_not_of_unit_norm_are_an_error(scale):
    certifier = Certifier(lambda w: scale * HalfSpace(WEIGHT)(w), RIVALS, sigma=0.5, batch_size=8)
    with pytest.raises(ValueError, match="unit norm"):
        certifier.certify(WAVEFORM)


@pytest.mark.parametrize(
    "encoder", [lambda w: torch.ones(len(w), 1), lambda w: torch.ones(len(w)), lambda w: w[:1, :2]]
)
def test_embeddings_of_the_wrong_shape_are_an_error(encoder):
    with pytest.raises(ValueError, match="shape"):
        Certifier(encoder, RIVALS, sigma=0.5, batch_size=8).certify(WAVEFORM)


def test_embeddings_of_unit_norm_within_the_tolerance_count_as_unit_vectors():
    loose = Certifier(lambda w: 1.0009 * HalfSpace(WEIGHT)(w), RIVALS, sigma=0.5, batch_size=64).certify(WAVEFORM)
    exact = Certifier(HalfSpace(WEIGHT), RIVALS, sigma=0.5, batch_size=64).certify(WAVEFORM)
    assert [row.radius for row in loose] == [row.radius for row in exact]


def test_a_batch_that_does_not_fit_is_halved_for_good():
    def encoder(waveform):
        if len(waveform) > 20:
            raise torch.OutOfMemoryError("made up")
        return HalfSpace(WEIGHT)(waveform)

    certifier = Certifier(encoder, RIVALS, sigma=0.5, batch_size=64)
    rows = certifier.certify(WAVEFORM)
    assert certifier.batch_size == 16
    expected = Certifier(HalfSpace(WEIGHT), RIVALS, sigma=0.5, batch_size=64).certify(WAVEFORM)
    assert [answer(row) for row in rows] == [answer(row) for row in expected]


def test_the_encoder_is_called_once_per_batch():
    sizes = []

    def encoder(waveform):
        sizes.append(len(waveform))
        return HalfSpace(WEIGHT)(waveform)

    Certifier(encoder, RIVALS, sigma=0.5, num_select=50, num_estimate=200, batch_size=64).certify(WAVEFORM)
    probe, run = sizes[:6], sizes[6:]
    assert probe == [64] * 6
    assert run == [64] * 5  # 50 and 200 samples in batches of one shape


def test_auto_resolves_once_to_a_batch_size():
    certifier = half_space(batch_size="auto")
    certifier.certify(WAVEFORM)
    resolved = certifier.batch_size
    assert isinstance(resolved, int)
    certifier.certify(WAVEFORM)
    assert certifier.batch_size == resolved


def test_no_gradient_and_no_change_of_mode():
    module = nn.Sequential(nn.Linear(8, 2, bias=False), nn.Dropout(0.5)).eval()
    seen = []

    def encoder(waveform):
        seen.append(torch.is_grad_enabled())
        return nn.functional.normalize(module(waveform), dim=1)

    Certifier(encoder, RIVALS, sigma=0.5, batch_size=64).certify(WAVEFORM)
    assert not any(seen)
    with pytest.raises(ValueError, match="evaluation mode"):
        Certifier(module.train(), RIVALS, sigma=0.5)
    certifier = Certifier(module.eval(), RIVALS, sigma=0.5)
    module[1].train()
    with pytest.raises(ValueError, match="'1'"):
        certifier.certify(WAVEFORM)


def test_a_silent_waveform_has_no_snr():
    rows = Certifier(lambda w: torch.tensor([[1.0, 0.0]]).repeat(len(w), 1), RIVALS, sigma=0.5, batch_size=64).certify(
        torch.zeros(4)
    )
    assert all(row.radius > 0 and row.snr_db is None for row in rows)


def test_failed_utterances_are_rows_for_every_rule():
    rows = half_space(seed=4, encoder_id="hash").failed("u", "ann", "empty file")
    assert [row.rule for row in rows] == list(SOUND_RULES)
    assert {(row.abstained, row.prediction, row.seed, row.encoder) for row in rows} == {("empty file", "", 4, "hash")}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sigma", 0.0),
        ("sigma", -1.0),
        ("sigma", math.nan),
        ("sigma", math.inf),
        ("sigma", "0.1"),
        ("sigma", True),
        ("alpha", 0.0),
        ("alpha", 1.0),
        ("alpha", math.nan),
        ("alpha", None),
        ("num_select", 0),
        ("num_estimate", 0),
        ("num_estimate", 10.5),
        ("num_estimate", True),
        ("num_looks", 0),
        ("num_looks", 10),
        ("num_thresholds", 5),
        ("batch_size", 0),
        ("batch_size", "large"),
        ("seed", 0.5),
        ("tolerance", -0.1),
        ("tolerance", math.nan),
        ("tolerance", "0.05"),
        ("target_radius", 0.0),
        ("target_radius", [0.1]),
        ("rules", ()),
        ("rules", ("vote", "vote")),
        ("rules", ("votes",)),
        ("rules", [["vote"]]),
        ("rules", "vote"),
        ("rules", None),
        ("speakers", ("a",)),
        ("speakers", ("a", "a")),
        ("speakers", ("a", "")),
        ("prototypes", torch.ones(2)),
        ("prototypes", torch.ones(1, 1)),
        ("prototypes", torch.ones(2, 2)),
        ("prototypes", torch.tensor([[1.0, 0.0], [math.nan, 1.0]])),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name, value):
    settings = {"encoder": HalfSpace(WEIGHT), "prototypes": RIVALS, "sigma": 0.5, "num_estimate": 500} | {name: value}
    with pytest.raises(ValueError, match=f"^{name} must be .*, got "):
        Certifier(**settings)


@pytest.mark.parametrize(
    "waveform", [torch.zeros(1, 8), torch.zeros(0), torch.tensor([0.0, math.nan]), torch.tensor(1.0)]
)
def test_waveforms_that_are_none_are_refused(waveform):
    with pytest.raises(ValueError, match="^waveform must be .*, got "):
        half_space().certify(waveform)


@pytest.mark.parametrize(
    "waveform",
    [WAVEFORM.numpy(), WAVEFORM.tolist(), (32767 * WAVEFORM).short(), WAVEFORM > 0, WAVEFORM.to(torch.complex64), None],
    ids=["numpy", "list", "int16", "bool", "complex", "None"],
)
def test_what_is_no_waveform_is_refused_by_type(waveform):
    wanted = r"waveform must be a tensor \(time,\) of floating-point numbers \(of audio: in \[-1, 1\]\), got "
    certifier = half_space()
    for verb in (certifier.certify, certifier.predict):
        with pytest.raises(ValueError, match=wanted):
            verb(waveform)


def test_prototypes_are_a_tensor():
    with pytest.raises(ValueError, match=r"prototypes must be a tensor \(K, dim\) of floating-point numbers"):
        Certifier(HalfSpace(WEIGHT), RIVALS.numpy(), sigma=0.5)


def test_an_embedding_of_zero_abstains_and_the_run_goes_on():
    def encoder(waveform):
        return HalfSpace(WEIGHT)(waveform) * (waveform[:, :1] > -0.5)

    certifier = Certifier(encoder, RIVALS, sigma=0.5, rules=SOUND_RULES, batch_size=64)
    for row in certifier.certify(WAVEFORM):
        assert (row.abstained, row.radius) == ("non-finite or zero embeddings", 0.0)


def test_waveforms_are_certified_on_the_grid():
    row, *_ = half_space().certify(WAVEFORM)
    assert row.grid == GRID
    assert row == replace(half_space().certify(round_to_grid(WAVEFORM))[0], seconds=row.seconds)
    assert half_space(noise_at="features").certify(WAVEFORM)[0].grid is None
    assert half_space().failed("u", "", "empty")[0].grid == GRID


def test_a_longer_waveform_is_probed_again():
    class Memory(HalfSpace):
        def __call__(self, waveform):
            if waveform.numel() > 640:
                raise torch.OutOfMemoryError("made up")
            return HalfSpace(torch.ones(waveform.shape[1]))(waveform)

    certifier = Certifier(Memory(WEIGHT), RIVALS, sigma=0.5, batch_size=64)
    certifier.certify(torch.ones(8))
    assert certifier.batch_size == 64
    certifier.certify(torch.ones(40))
    assert certifier.batch_size == 16


@pytest.mark.parametrize("ends", [(0, 0), (-1, 5), (400, 501)])
def test_shards_outside_the_plan_are_refused(ends):
    with pytest.raises(ValueError, match="^samples must be"):
        half_space().examine(WAVEFORM, "u", samples=ends)
