from dataclasses import replace

import pytest

from voxcert.evaluation.certification import comparison
from voxcert.evaluation.certification.comparison import (
    COMPARISON_PLOT,
    comparison_figure,
    paired_difference,
    plot_comparison,
    system_name,
)
from voxcert.evaluation.run.folder import ROWS, write_config
from voxcert.rows import RowWriter


def rows(certificate, radii, sigma, rules=("vote",)):
    return [certificate(rule, radius, f"u{i}", sigma=sigma) for i, radius in enumerate(radii) for rule in rules]


def test_a_panel_for_each_sigma_and_a_curve_for_each_system(certificate):
    figure = comparison_figure(
        [
            ("a", rows(certificate, [0.1, 0.3, 0.2, 0.0], 0.1, ("published_se", "distribution", "vote"))),
            ("d + a", rows(certificate, [0.2, 0.2, 0.5, 0.4], 0.1)),
            ("a", rows(certificate, [0.01, 0.02], 0.01)),
        ]
    )
    small, large = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["$\\sigma$ = 0.01", "$\\sigma$ = 0.1"]
    curves = {line.get_label(): (line.get_xdata().tolist(), line.get_ydata().tolist()) for line in large.get_lines()}
    assert curves == {
        "a": ([0, 0.1, 0.2, 0.3], [0.75, 0.5, 0.25, 0]),
        "d + a": ([0, 0.2, 0.4, 0.5], [1, 0.5, 0.25, 0]),
    }
    (again,) = small.get_lines()
    assert again.get_color() == next(line for line in large.get_lines() if line.get_label() == "a").get_color()
    (legend,) = figure.legends
    assert legend.get_title().get_text().startswith("rule vote")
    assert sorted(text.get_text() for text in legend.get_texts()) == ["a", "d + a"]


def test_radii_of_different_representations_share_no_axis(certificate):
    """At the same sigma, and where all sigmas meet in one panel: a norm of features is none of waveforms."""
    features = [replace(row, noise_at="features") for row in rows(certificate, [3.0, 5.0], 0.1)]
    runs = [("a", rows(certificate, [0.1, 0.3], 0.1)), ("a, noise at the features", features)]
    for one_panel in (False, True):
        of_features, of_waveforms = comparison_figure(runs, one_panel).axes
        assert [line.get_label() for line in of_features.get_lines()] == ["a, noise at the features"]
        assert of_features.get_xlabel() == "l2 norm of the perturbation\n(of the features)"
        assert of_waveforms.get_xlabel() == "l2 norm of the perturbation"
        assert of_waveforms.get_xlim()[1] < 0.4


def test_sigmas_meet_in_one_panel(certificate):
    runs = [("little", rows(certificate, [0.01, 0.02], 0.01)), ("much", rows(certificate, [0.3, 0.0], 0.1))]
    (axes,) = comparison_figure(runs, one_panel=True).axes
    assert [line.get_label() for line in axes.get_lines()] == ["little", "much"]
    assert axes.get_title() == ""
    assert axes.get_xlim()[1] > 0.3


def test_systems_are_named_by_what_made_them():
    assert system_name({"checkpoint": "checkpoints/ecapa-mini"}) == "ecapa-mini"
    assert system_name({"checkpoint": "runs/mine-0.25"}) == "mine-0.25"
    assert system_name({"checkpoint": "models/campplus.pt"}) == "campplus"
    purifier = {"class_path": "voxcert.purifiers.MeanFilter", "init_args": {}}
    assert system_name({"checkpoint": "ecapa-mini", "purifier": purifier}) == "MeanFilter + ecapa-mini"
    assert system_name({"encoder": {"class_path": "a.ECAPA"}, "purifier": "x/dap-mini"}) == "dap-mini + ECAPA"
    assert system_name({"checkpoint": "ecapa-mini", "noise_at": "waveform"}) == "ecapa-mini"
    assert system_name({"checkpoint": "ecapa-mini", "noise_at": "features"}) == "ecapa-mini, noise at the features"


def test_draws_from_folders(certificate, tmp_path):
    for name in ("a", "b"):
        write_config(tmp_path / name, {"checkpoint": name})
        with RowWriter(tmp_path / name / ROWS) as writer:
            writer.write(rows(certificate, [0.1], 0.1))
    plot_comparison([tmp_path / "a", tmp_path / "b"], tmp_path / COMPARISON_PLOT)
    assert (tmp_path / COMPARISON_PLOT).read_bytes().startswith(b"\x89PNG")


def test_two_runs_of_a_system_at_one_sigma_are_two_curves(certificate, tmp_path, monkeypatch):
    folders = [tmp_path / name for name in ("en/certify", "de/certify", "en/small")]
    for folder, sigma in zip(folders, (0.1, 0.1, 0.01), strict=True):
        write_config(folder, {"checkpoint": "a"})
        with RowWriter(folder / ROWS) as writer:
            writer.write(rows(certificate, [0.1], sigma))
    drawn = []
    monkeypatch.setattr(comparison, "comparison_figure", lambda runs: drawn.append([name for name, _ in runs]))
    monkeypatch.setattr(comparison, "save", lambda figure, path: None)
    plot_comparison(folders, tmp_path / COMPARISON_PLOT)
    assert drawn == [["a (en/certify)", "a (de/certify)", "a"]]


def test_what_has_nothing_in_common_cannot_be_compared(certificate):
    runs = [("a", rows(certificate, [0.1], 0.1)), ("b", rows(certificate, [0.1], 0.1, ("published_se",)))]
    with pytest.raises(ValueError, match="runs must have a sound rule in common"):
        comparison_figure(runs)
    with pytest.raises(ValueError, match="runs must have a sound rule in common"):
        comparison_figure([])


def test_pairs_of_certificates_tell_systems_apart(certificate):
    """Nine of ten speakers gain one of two utterances, one loses one: 0.4 more, surely more than nothing."""
    before, after = [], []
    for speaker in range(10):
        for take in range(2):
            about = {"utterance": f"{speaker}-{take}", "speaker": str(speaker), "prediction": str(speaker)}
            won, lost = take == 0 and speaker < 9, take == 0 and speaker == 9
            before.append(certificate(radius=0.3 if lost else 0.1, **about))
            after.append(certificate(radius=0.3 if won else 0.1, **about))
    gain, low, high = paired_difference(before, after[::-1], 0.2)
    assert gain == pytest.approx(0.4)
    assert 0 < low < 0.4 < high < 0.65
    none, less, more = paired_difference(before, before, 0.2)
    assert none == 0
    assert (less, more) == (pytest.approx(-more), pytest.approx(0.278, abs=1e-3)), (
        "an eleventh speaker may lose or gain"
    )
    with pytest.raises(ValueError, match="runs must be about the same utterances, got 20 and 19"):
        paired_difference(before, after[1:], 0.2)
