from dataclasses import replace

import pytest
import torch
from attacked import attack_row

from voxcert.evaluation.attack import comparison
from voxcert.evaluation.attack.certified import certified_speakers
from voxcert.evaluation.attack.comparison import (
    attacked_claims,
    describe_attacks,
    is_attack_run,
    plot_runs,
    read_attacks,
    redraw,
)
from voxcert.evaluation.certification.folder import write_prototypes
from voxcert.evaluation.run.folder import ROWS, write_config
from voxcert.rows import RowWriter, replace_rows
from voxcert.smoothing import CertifiedScore

HASH = "0123456789abcdef"
TRIAL = f"""{{"utterance": "u0", "speaker": "a", "claim": "b", "verifier": "vote", "open_set": false, "enrolled": true,
"score": 0.5, "radii": [0.1], "lower": [0.1], "upper": [0.7], "failed": null, "sigma": 0.01, "alpha": 0.001,
"num_select": 1, "num_estimate": 9, "num_forwards": 10, "seconds": 1.0, "seed": 0, "encoder": "{HASH}"}}"""


@pytest.fixture
def runs(certificate, tmp_path):
    """A certification run with two rules, and a function that writes attack runs beside it."""
    certified = tmp_path / "certified"
    write_config(certified, {"sigma": 0.01})
    write_prototypes(certified, torch.eye(2), ["a", "b"])
    rows = [certificate(rule, 0.05, f"u{i}", encoder=HASH) for i in range(3) for rule in ("vote", "mean")]
    with RowWriter(certified / ROWS) as writer:
        writer.write(rows)

    def attacked(name="attacked", prototypes=None, **changes):
        folder = tmp_path / name
        write_config(folder, {"attack": {"class_path": "pgd"}})
        write_prototypes(folder, torch.eye(2) if prototypes is None else prototypes, ["a", "b"])
        smoothed = {"sigma": 0.01, "decision": "vote"}
        replace_rows(folder / ROWS, [replace(attack_row(f"u{i}"), **smoothed | changes) for i in range(3)])
        return folder

    return certified, attacked


def test_runs_are_told_apart(runs, tmp_path):
    certified, attacked = runs
    assert not is_attack_run(certified)
    assert is_attack_run(attacked())
    assert not is_attack_run(tmp_path / "none")


def test_one_picture_for_one_model(runs, tmp_path):
    certified, attacked = runs
    plot_runs([attacked(), attacked("other", sigma=None)], [certified], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_two_runs_of_an_attack_are_two_curves(runs, tmp_path, monkeypatch):
    certified, attacked = runs
    folders, drawn = [attacked("en/pgd"), attacked("de/pgd"), attacked("fgsm", attack="fgsm")], []
    monkeypatch.setattr(
        comparison, "robust_figure", lambda *kinds: drawn.extend([one for one, _ in own] for own in kinds)
    )
    monkeypatch.setattr(comparison, "save", lambda figure, path: None)
    plot_runs(folders, [certified], tmp_path / "plot.png")
    names = ["pgd, smoothed 0.01 (vote) (en/pgd)", "pgd, smoothed 0.01 (vote) (de/pgd)", "fgsm, smoothed 0.01 (vote)"]
    assert drawn == [names, ["smoothed 0.01"]]


def test_a_run_is_redrawn_alone_or_beside_others(runs):
    certified, attacked = runs
    folder = attacked()
    assert redraw([folder], []) == folder / "robust_accuracy.png"
    assert redraw([folder, attacked("other")], [certified]) == folder / "certified_empirical.png"
    assert (folder / "certified_empirical.png").is_file()


def test_a_run_on_certified_speakers_is_redrawn_with_its_certificates(runs, monkeypatch):
    certified, attacked = runs
    folder = attacked()
    write_config(folder, {"attack": {}, "certified": str(certified)})
    drawn = []
    monkeypatch.setattr(comparison, "plot_runs", lambda *arguments: drawn.append(arguments))
    redraw([folder], [])
    assert drawn == [([folder], [str(certified)], folder / "robust_accuracy.png")]


def test_another_encoder_is_refused_beside_certificates_only(runs, tmp_path):
    certified, attacked = runs
    folders = [attacked(), attacked("other", encoder="f" * 16)]
    with pytest.raises(
        ValueError, match=f"of one encoder, got '{HASH}' certified in .* and 'ffffffffffffffff' attacked"
    ):
        plot_runs(folders, [certified], tmp_path / "plot.png")
    plot_runs(folders, [], tmp_path / "plot.png")


def test_other_speakers_or_utterances_are_a_warning(runs, tmp_path):
    certified, attacked = runs
    with pytest.warns(UserWarning, match="certified has other enrolled speakers"):
        plot_runs([attacked(prototypes=torch.eye(2).flip(0))], [certified], tmp_path / "plot.png")
    with pytest.warns(UserWarning, match="certified has other utterances"):
        plot_runs([attacked(utterance="u7")], [certified], tmp_path / "plot.png")


def test_certificates_of_features_are_refused(runs, certificate, tmp_path):
    _, attacked = runs
    features = tmp_path / "features"
    write_config(features, {})
    with RowWriter(features / ROWS) as writer:
        writer.write([certificate(encoder=HASH, noise_at="features")])
    with pytest.raises(ValueError, match="certificates must be about waveforms .* got those of the features"):
        plot_runs([attacked()], [features], tmp_path / "plot.png")


def test_certified_speakers(runs, certificate, tmp_path):
    certified, _ = runs
    prototypes, speakers = certified_speakers(certified, HASH)
    assert torch.equal(prototypes, torch.eye(2))
    assert speakers == ["a", "b"]
    (certified / "prototypes.safetensors").unlink()
    with pytest.raises(ValueError, match="certified without enrolled speakers"):
        certified_speakers(certified, HASH)
    with pytest.raises(ValueError, match="must be the folder of a certification run"):
        certified_speakers(tmp_path / "none", HASH)


def test_broken_certificates_are_counted_where_the_system_is_the_same(runs):
    certified, attacked = runs
    outside = describe_attacks([attacked()], [certified])
    said = f"{certified} (vote): none was attacked inside, with a right answer before."
    assert outside.endswith(f"says nothing about the certificates of {said}")
    assert "(mean)" not in outside, "the attack was on the votes"
    inside = describe_attacks([attacked(l2=0.04)], [certified])
    assert f"broke 3 of the 3 certificates of {certified} (vote) that it attacked inside their radius" in inside
    assert inside.endswith(": u0, u1, u2.")
    assert "broke 0 of the 3 " in describe_attacks([attacked(l2=0.04, adversarial="a")], [certified])
    assert "broke" not in describe_attacks([attacked(sigma=0.02)], [certified])


def test_an_attack_on_other_enrolled_speakers_breaks_no_certificate(runs):
    certified, attacked = runs
    said = describe_attacks([attacked(l2=0.04, prototypes=torch.eye(2).flip(0))], [certified])
    assert "broke" not in said
    assert f"says nothing about the certificates of {certified}, which has other enrolled speakers" in said


def test_attacks_on_claims_are_put_beside_proofs_of_the_same_vectors(runs):
    certified, attacked = runs
    proof = CertifiedScore.from_json(TRIAL)
    own = attacked(scenario="sv", target="b")
    moved = attacked("moved", prototypes=torch.tensor([[1.0, 0.0], [0.6, 0.8]]), scenario="sv", target="b")
    rounded = attacked("rounded", prototypes=torch.eye(2) + 1e-7, scenario="sv", target="b")
    genuine = attacked("genuine", prototypes=torch.tensor([[1.0, 0.0], [0.6, 0.8]]), scenario="sv")
    rows, others = attacked_claims([own, moved, rounded, genuine], certified, proof)
    assert rows == [row for folder in (own, rounded, genuine) for row in read_attacks(folder)]
    assert others == 3
    elsewhere = attacked("elsewhere", prototypes=torch.eye(2, 3), scenario="sv", encoder="f" * 16)
    assert attacked_claims([elsewhere, attacked("csi")], certified, proof) == ([], 0)


def test_attacks_on_claims_say_nothing_about_an_open_set(runs, tmp_path):
    _, attacked = runs
    folder, trials = tmp_path / "open", [replace(CertifiedScore.from_json(TRIAL), open_set=True, utterance="u0")]
    write_config(folder, {"task": "open_set"})
    write_prototypes(folder, torch.eye(2), ["a", "b"])
    replace_rows(folder / ROWS, trials)
    claims = attacked(scenario="sv", target="b", radius=0.1, threshold=0.5)
    assert describe_attacks([claims], [folder]).endswith("it is about an open set, of which they say nothing.")
    assert "open set" not in describe_attacks([attacked("csi")], [folder])


def test_an_attack_on_claims_is_redrawn_without_curves_of_naming(runs, monkeypatch):
    certified, attacked = runs
    folder = attacked()
    write_config(folder, {"attack": {}, "certified": str(certified), "scenario": "sv"})
    drawn = []
    monkeypatch.setattr(comparison, "plot_runs", lambda *arguments: drawn.append(arguments))
    redraw([folder], [])
    assert drawn == [([folder], [], folder / "robust_accuracy.png")]


def test_a_run_without_rows_is_named(runs):
    _, attacked = runs
    folder = attacked()
    (folder / ROWS).write_text("")
    with pytest.raises(ValueError, match="attacked without any"):
        describe_attacks([folder], [])
