"""The figure is read back: curves, labels and what they promise."""

import numpy as np
import pytest

from voxcert.evaluation.certification.figures import MOST_STEPS, certified_accuracy_figure, plot_certified_accuracy
from voxcert.smoothing.curves import certified_accuracy


def test_curve_steps_down_at_each_radius(certificate):
    rows = [certificate(radius=radius, utterance=f"u{radius}") for radius in (0.01, 0.02)]
    axes = certified_accuracy_figure(rows).axes[0]
    (line,) = axes.get_lines()
    assert line.get_xdata().tolist() == [0.0, 0.01, 0.02]
    assert line.get_ydata().tolist() == [1.0, 0.5, 0.0]
    assert "2 utterances" in axes.get_title()


def test_published_rules_are_dashed_and_no_guarantee(certificate):
    axes = certified_accuracy_figure([certificate("vote"), certificate("published_mean", 0.02)]).axes[0]
    styles = {line.get_label(): line.get_linestyle() for line in axes.get_lines()}
    assert styles == {"vote": "-", "published_mean (not a guarantee)": "--"}


@pytest.mark.parametrize("radius", [0.0, 0.01])
def test_png_is_written_whatever_was_certified(certificate, tmp_path, radius):
    path = tmp_path / "plot.png"
    plot_certified_accuracy([certificate(radius=radius, waveform_norm=0.0)], path)
    assert path.read_bytes().startswith(b"\x89PNG")


def test_no_rows_is_an_error():
    with pytest.raises(ValueError, match="at least one certificate"):
        certified_accuracy_figure([])


def test_a_curve_of_very_many_rows_is_never_much_too_high(certificate):
    radii = [0.2] * 10_000 + [0.1 * number / 10_000 for number in range(9_998)] + [0.29, 0.3]
    rows = [certificate("vote", radius, utterance=f"u{number}") for number, radius in enumerate(radii)]
    (line,) = certified_accuracy_figure(rows).axes[0].get_lines()
    places, shares = line.get_xdata(), line.get_ydata()
    for radius in (0.05, 0.15, 0.25, 0.295):
        drawn = shares[np.searchsorted(places, radius, side="right") - 1]
        true = certified_accuracy(rows, [radius])[0]
        assert true <= drawn <= true + 1 / MOST_STEPS
