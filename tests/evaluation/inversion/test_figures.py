import pytest
import torch

from voxcert.evaluation.inversion.figures import components_figure


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (4, 4), (5, 4)])
def test_components_have_a_panel_for_each_experiment_and_no_empty_one(count, columns):
    inverted = {f"start {number}, standard": torch.randn(6, 8) for number in range(count)}
    figure = components_figure(torch.randn(30, 8), inverted)
    assert [panel.get_title() for panel in figure.axes] == list(inverted)
    lowest = figure.axes[-columns:]
    assert all(panel.xaxis.get_tick_params()["labelbottom"] for panel in lowest)
