"""Comparisons of defences on a linear encoder, where the worst perturbation of a score is known."""

import json
import math
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from toy import ToyData

from voxcert.attacks import pgd, universal
from voxcert.data import load
from voxcert.evaluation.defence.job import compare_defences, is_comparison
from voxcert.evaluation.defence.row import DefenceRow
from voxcert.evaluation.defence.settings import Defence, DefenceSettings
from voxcert.evaluation.defence.system import DefendedSystem, Words
from voxcert.evaluation.run.audio_files import rounded
from voxcert.evaluation.run.job import Provenance
from voxcert.purifiers import AddNoise, GaussianFilter, MeanFilter, Quantise
from voxcert.purifiers.base import Purifier
from voxcert.purifiers.text import HashedText
from voxcert.rows import read_rows


def rows_of(folder):
    return read_rows(Path(folder) / "rows.jsonl", DefenceRow)


TIME = 6000  # samples; PESQ needs 4000
EPSILON = 0.05


class Projection(nn.Module):
    """A fixed random projection of the waveform, normalised."""

    def __init__(self, dim=8):
        super().__init__()
        self.register_buffer("weight", torch.randn(TIME, dim, generator=torch.Generator().manual_seed(0)) / TIME**0.5)

    def forward(self, waveform):
        """(batch, time) -> (batch, dim)."""
        return F.normalize(waveform @ self.weight, dim=-1)


class Data(ToyData):
    """Three speakers, each a fixed waveform with a little noise; the last test item is a bad file."""

    def __init__(self, loudness=0.1):
        generator = torch.Generator().manual_seed(1)
        self.centers = {name: loudness * torch.randn(TIME, generator=generator) for name in "abc"}
        self.tests = [
            {"utterance": f"{name}/{i}", "speaker": name, "text": f"{name} says {i}", "waveform": center + noise}
            for name, center in self.centers.items()
            for i, noise in enumerate(0.2 * loudness * torch.randn(2, TIME, generator=generator))
        ]
        self.tests.append({"utterance": "c/9", "speaker": "c", "text": "", "error": "c/9.wav: empty"})

    def enrollment_dataloader(self, stage):
        """One batch of the fixed waveforms."""
        names = list(self.centers)
        return [{"waveform": torch.stack(list(self.centers.values())), "speaker": names, "text": names}]


DEFENCES = [Defence("mean", MeanFilter(5)), Defence("8 bits", Quantise(8)), Defence("noise", AddNoise(0.01))]
ATTACKS = {"l2": pgd(epsilon=EPSILON, norm="l2", steps=5)}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("defences")
    settings = DefenceSettings(str(folder), trials_per_batch=4, num_draws=2, accelerator="cpu")
    return folder, compare_defences(Projection(), Data(), DEFENCES, ATTACKS, settings, Provenance("0123"))


def entries(summary):
    return {(one["defence"], one["condition"], one["adaptive"]): one for one in summary["defences"]}


def timeless(folder):
    return [row.to_json().replace(f'"seconds": {row.seconds}', "") for row in rows_of(folder)]


def test_every_defence_meets_every_trial_under_every_condition(finished):
    folder, summary = finished
    rows = rows_of(folder)
    conditions = [("genuine", False), ("l2", False), ("l2", True)]
    expected = {(name, *about) for name in ("mean", "8 bits", "noise") for about in conditions}
    assert entries(summary).keys() == expected | {("none", *about) for about in conditions[:2]}
    for entry in summary["defences"]:
        assert (entry["num_trials"], entry["num_failed"]) == (14, 2)
    for row in rows:
        assert row.target == (row.claim == row.speaker)
        assert row.system.startswith("0123+") != (row.defence == "none")
    assert {row.failed for row in rows if row.utterance == "c/9"} == {"c/9.wav: empty"}
    assert json.loads((folder / "summary.json").read_text()) == summary
    assert (folder / "defences.png").read_bytes().startswith(b"\x89PNG")
    assert "| 8 bits " in (folder / "tables.md").read_text()


def test_attacks_stay_in_their_budget_and_genuine_noise_has_its_level(finished):
    folder, _ = finished
    items = {item["utterance"]: item for item in Data().tests}
    for row in rows_of(folder):
        if row.failed is None:
            level = items[row.utterance]["waveform"].norm().item() * 10 ** (-39 / 20)
            allowed = level if row.condition == "genuine" else EPSILON
            assert row.l2 == pytest.approx(allowed, rel=0.05), "the whole budget, to the rounding of 16 bits"


def test_the_attack_on_the_bare_encoder_is_made_once_and_sent_to_all(finished):
    folder, _ = finished
    sizes = {}
    for row in rows_of(folder):
        if row.condition == "l2" and not row.adaptive and row.failed is None:
            sizes.setdefault((row.utterance, row.claim), set()).add((row.l2, row.linf))
    assert len(sizes) == 12
    assert all(len(found) == 1 for found in sizes.values())
    path = folder / "audio" / "l2" / "a%2F0--a.flac"
    delta = load(path) - Data().tests[0]["waveform"]
    assert sizes["a/0", "a"] == {(delta.double().norm().item(), delta.abs().max().double().item())}


def test_attacks_move_scores_the_way_they_should(finished):
    folder, _ = finished
    scores = {(row.defence, row.condition, row.adaptive, row.utterance, row.claim): row for row in rows_of(folder)}
    for key, row in scores.items():
        if row.condition == "l2" and row.failed is None and (row.adaptive or row.defence == "none"):
            before = scores[key[0], "genuine", False, *key[3:]]
            assert (row.score < before.score) == row.target, key
    for name in ("mean", "8 bits", "noise"):
        gaps = []
        for adaptive in (False, True):
            own = [row for row in scores.values() if (row.defence, row.condition) == (name, "l2") and not row.failed]
            own = [row.score * (-1 if row.target else 1) for row in own if row.adaptive is adaptive]
            gaps.append(sum(own))
        # Straight through 8 bits and in expectation over noise there is next to nothing to gain; there is for filters.
        assert gaps[1] >= gaps[0] - 0.02 * len(own)


def test_an_adaptive_attack_finds_what_a_filter_hides():
    """The bare encoder's gradient is at frequencies that the filter removes; the system's own is not."""

    class High(nn.Module):
        """Hears the highest frequencies loudly and the low ones a little."""

        def __init__(self):
            super().__init__()
            base = torch.randn(TIME, 4, generator=torch.Generator().manual_seed(0)) / TIME**0.5
            smooth = F.avg_pool1d(base.T[:, None], 9, 1, 4)[:, 0].T
            self.register_buffer("weight", smooth + 3 * (base - smooth))

        def forward(self, waveform):
            return F.normalize(waveform @ self.weight, dim=-1)

    data, encoder = Data(), High()
    settings = DefenceSettings("none", seed=0)
    systems = []
    for defence in (None, Defence("low", GaussianFilter(3.0))):
        system = DefendedSystem(defence, encoder, Words({}), settings, torch.device("cpu"))
        recognized = system._purified(data.enrollment_dataloader("test")) if defence else data.enrollment_dataloader("")
        (batch,) = recognized
        system.prototypes, system.speakers = encoder(batch["waveform"]), batch["speaker"]
        systems.append(system)
    waveform = torch.stack([item["waveform"] for item in data.tests[:2]])
    claims, names = torch.tensor([0, 0]), ["a/0", "a/1"]
    attacked = [one.attacked(pgd(epsilon=0.3, norm="l2"), waveform, names, claims, False, "l2") for one in systems]
    clean, unknowing, adaptive = (systems[1].judge(one, names, claims)[0] for one in (waveform, *attacked))
    assert (clean - adaptive > 3 * (clean - unknowing)).all()


def test_a_run_that_was_cut_continues_to_the_same_rows(finished, tmp_path):
    folder, summary = finished
    settings = DefenceSettings(str(tmp_path), trials_per_batch=4, num_draws=2, accelerator="cpu")
    (tmp_path / "audio" / "l2").mkdir(parents=True)
    lines = (folder / "rows.jsonl").read_bytes()
    (tmp_path / "config.yaml").write_text((folder / "config.yaml").read_text().replace(str(folder), str(tmp_path)))
    (tmp_path / "plan.jsonl").write_bytes((folder / "plan.jsonl").read_bytes())
    (tmp_path / "rows.jsonl").write_bytes(lines[: len(lines) // 2])
    again = compare_defences(Projection(), Data(), DEFENCES, ATTACKS, settings, Provenance("0123"))
    assert timeless(tmp_path) == timeless(folder)
    assert again["defences"] == summary["defences"]


def test_other_settings_and_other_purifiers_are_refused(finished):
    folder, _ = finished
    other = DefenceSettings(str(folder), trials_per_batch=3, num_draws=2, accelerator="cpu")
    with pytest.raises(ValueError, match="trials_per_batch is 4 there, got 3"):
        compare_defences(Projection(), Data(), DEFENCES, ATTACKS, other, Provenance("0123"))
    same = DefenceSettings(str(folder), trials_per_batch=4, num_draws=2, accelerator="cpu")
    changed = [Defence("mean", MeanFilter(7)), *DEFENCES[1:]]
    with pytest.raises(ValueError, match="holds a run with other weights: mean is 0123"):
        compare_defences(Projection(), Data(), changed, ATTACKS, same, Provenance("0123"))


def test_what_is_compared_is_in_the_config_and_other_attacks_are_refused(finished, tmp_path):
    folder, _ = finished
    assert is_comparison(folder)
    settings = DefenceSettings(str(folder), trials_per_batch=4, num_draws=2, accelerator="cpu")
    weaker = {"l2": pgd(epsilon=EPSILON / 2, norm="l2", steps=5)}
    with pytest.raises(ValueError, match=r"attacks.l2.init_args.epsilon is 0.05 there, got 0.025"):
        compare_defences(Projection(), Data(), DEFENCES, weaker, settings, Provenance("0123"))
    path = {"class_path": "voxcert.attacks.load_universal", "init_args": {"path": "sound.safetensors"}}
    origin = {"attacks": {"sound": path}, "defences": ["mean.yaml"]}  # as the command line tells them
    settings = replace(settings, output_dir=str(tmp_path), adaptive=False)
    for loudness, refused in ((0.1, nullcontext()), (0.2, pytest.raises(ValueError, match="attack_hash is .* there"))):
        sound = {"sound": universal(perturbation=torch.full((9,), loudness))}
        with refused:
            compare_defences(Projection(), Data(), DEFENCES[:1], sound, settings, Provenance("0123", origin))


def test_an_attack_that_changes_nothing_is_no_result(tmp_path):
    def content(recognizer, waveform, labels, *, objective=None, targeted=False, generator=None):
        """Finds nothing, as what stops once a threshold is passed that is out of reach."""
        return waveform

    settings = DefenceSettings(str(tmp_path), accelerator="cpu")
    summary = compare_defences(Projection(), Data(), DEFENCES[:1], {"l2": content}, settings)
    reasons = {row.failed for row in rows_of(tmp_path) if row.condition == "l2" and row.utterance != "c/9"}
    assert reasons == {"the attack changed nothing"}
    found = entries(summary)
    assert (found["none", "l2", False]["num_failed"], found["none", "l2", False]["error_rate"]) == (14, None)
    assert found["none", "genuine", False]["num_failed"] == 2
    assert "mean (l2, adaptive) 14 of 14 trials" in (tmp_path / "tables.md").read_text()


def test_a_run_cut_before_its_first_row_enrols_through_the_purifier_at_hand(tmp_path):
    settings = DefenceSettings(str(tmp_path), accelerator="cpu")
    kept = {}
    for size in (5, 7, 5):
        about = Projection(), Words({}), settings, torch.device("cpu"), "0123"
        system = DefendedSystem(Defence("mean", MeanFilter(size)), *about)
        system.enroll(Data().enrollment_dataloader("test"))
        assert torch.equal(system.prototypes, kept.setdefault(size, system.prototypes))
    assert not torch.equal(kept[5], kept[7])


class Told(Purifier):
    """Gives back what it was told, repeated over the waveform."""

    def purify(self, waveform, text):
        """(batch, time) -> (batch, time)."""
        told = torch.zeros(len(waveform), 768) if text is None else text
        return waveform + 0.001 * told.repeat(1, TIME // 768 + 1)[:, :TIME]


def test_text_is_none_the_right_or_another(tmp_path):
    texts = {item["utterance"]: item["text"] for item in Data().tests}
    words, waveform = Words(texts, HashedText(), seed=3), torch.zeros(2, TIME)
    names = ["a/0", "b/1"]
    assert words.of("none", names, waveform) is None
    right = HashedText()(["a says 0", "b says 1"])
    assert torch.equal(words.of("transcript", names, waveform), right)
    wrong = words.of("wrong", names, waveform)
    everything = HashedText()([text for text in texts.values() if text])
    for row, own in zip(wrong, right, strict=True):
        assert not torch.equal(row, own)
        assert any(torch.equal(row, one) for one in everything)
    defences = [Defence(kind, Told(), text=kind) for kind in ("transcript", "wrong")] + [Defence("null", Told())]
    settings = DefenceSettings(str(tmp_path / "told"), adaptive=False, accelerator="cpu", genuine_snr_db=None)
    summary = compare_defences(Projection(), Data(), defences, ATTACKS, settings, text_embedder=HashedText())
    silent = Data()
    silent.tests[0]["text"] = ""
    elsewhere = replace(settings, output_dir=str(tmp_path / "silent"))
    with pytest.raises(
        ValueError, match="text of transcript must be none or heard .* transcripts of 5 of 6 utterances"
    ):
        compare_defences(Projection(), silent, defences, ATTACKS, elsewhere, text_embedder=HashedText())
    found = entries(summary)
    assert found["null", "genuine", False]["unmeasured"]["snr_db"] == {"nothing was changed": 12}
    assert found["transcript", "genuine", False]["snr_db"] > 0
    assert found["transcript", "genuine", False]["pesq"] != found["wrong", "genuine", False]["pesq"]
    assert {one["text"] for one in summary["defences"]} == {"none", "transcript", "wrong"}


@pytest.mark.parametrize("kind", ["none", "transcript", "wrong"])
def test_other_transcripts_are_refused_where_a_purifier_is_told_them(tmp_path, kind):
    def compare(**changes):
        data = Data()
        data.tests[0] |= changes
        settings = DefenceSettings(str(tmp_path), adaptive=False, accelerator="cpu", genuine_snr_db=None)
        return compare_defences(
            Projection(), data, [Defence("told", Told(), kind)], ATTACKS, settings, text_embedder=HashedText()
        )

    before = compare()
    if kind == "none":
        assert compare(text="other words")["defences"] == before["defences"]
    else:
        with pytest.raises(ValueError, match=r"made with other data: 1 changed: 'a/0' \(test\): another text"):
            compare(text="other words")


def test_silent_output_and_a_broken_purifier_are_rows(tmp_path):
    class Broken(Purifier):
        """Silence for one kind of trial, NaN for others."""

        def purify(self, waveform, text):
            """(batch, time) -> (batch, time)."""
            return waveform * math.nan

    class Silence(Broken):
        """Nothing."""

        def purify(self, waveform, text):
            """(batch, time) -> (batch, time)."""
            return 0 * waveform

    settings = DefenceSettings(str(tmp_path), adaptive=False, purify_enrollment=False, accelerator="cpu")
    defences = [Defence("broken", Broken()), Defence("silence", Silence())]
    found = entries(compare_defences(Projection(), Data(), defences, ATTACKS, settings))
    assert found["broken", "l2", False]["num_failed"] == 14
    assert found["broken", "l2", False]["error_rate"] is None
    assert found["silence", "l2", False]["unmeasured"]["pesq"] == {"the processed waveform is silent": 12}
    assert found["silence", "l2", False]["stoi"] is None
    assert found["silence", "l2", False]["error_rate"] == 0.5


def test_rounding_is_that_of_16_bit_audio():
    waveform = torch.tensor([[0.1, -1.0, 1.0, 0.4 / 32768]])
    assert (rounded(waveform) * 32768).tolist() == [[3277, -32768, 32767, 0]]


def test_an_attack_that_leaves_the_range_of_numbers_is_a_row_also_when_the_run_continues(tmp_path):
    def diverging(recognizer, waveform, labels, *, objective=None, targeted=False, generator=None):
        """NaN for the first of every batch."""
        out = waveform + 0.001
        out[0] = torch.nan
        return out

    settings = DefenceSettings(str(tmp_path), trials_per_batch=4, accelerator="cpu")
    for _ in range(2):
        summary = compare_defences(Projection(), Data(), [Defence("mean", MeanFilter(5))], {"l2": diverging}, settings)
        rows = rows_of(tmp_path)
        reasons = {row.failed for row in rows if row.failed is not None and row.utterance != "c/9"}
        assert reasons == {"the attack's waveform is not finite"}
        assert entries(summary)["mean", "l2", True]["error_rate"] is not None
        (tmp_path / "rows.jsonl").write_text("")
