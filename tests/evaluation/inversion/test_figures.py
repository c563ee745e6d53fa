import pytest
import torch

from voxcert.evaluation.inversion.figures import accuracy_figure, components_figure


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (4, 4), (5, 4)])
def test_components_have_a_panel_for_each_experiment_and_no_empty_one(count, columns):
    inverted = {f"start {number}, standard": torch.randn(6, 8) for number in range(count)}
    figure = components_figure(torch.randn(30, 8), inverted)
    assert [panel.get_title() for panel in figure.axes] == list(inverted)
    lowest = figure.axes[-columns:]
    assert all(panel.xaxis.get_tick_params()["labelbottom"] for panel in lowest)


def test_the_bars_of_a_start_say_how_many_speakers_have_no_result():
    ones = [
        {"experiment": f"{start}, {method}", "accuracy": 0.5, "interval": [0.2, 0.8], "failed": failed}
        for start, method, failed in (("white", "standard", 1), ("white", "sliding", 2), ("zeros", "standard", 0))
    ]
    (axes,) = accuracy_figure(ones).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["white\n(3 without a result)", "zeros"]
