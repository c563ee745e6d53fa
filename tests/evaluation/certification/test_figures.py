"""The figure is read back: curves, labels and what they promise."""

import pytest

from voxcert.evaluation.certification.figures import certified_accuracy_figure, plot_certified_accuracy


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
