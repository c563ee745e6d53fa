import numpy as np
import pytest
from attacked import attack_row

from voxcert.evaluation.attack.figures import robust_figure

ATTACKED = [
    attack_row(f"u{i}", radius=radius, l2=radius, adversarial="b" if i < j else "a")
    for j, radius in ((1, 0.1), (2, 0.2))
    for i in range(4)
]


def curves(axes):
    return {line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith("_")}


def test_certified_and_empirical_step_down_on_one_axis(certificate):
    certificates = [certificate("vote", radius, f"u{i}") for i, radius in enumerate((0.01, 0.02, 0.02, 0.0))]
    axes = robust_figure([("pgd", ATTACKED)], [("smoothed", [*certificates, certificate("published_mean", 1)])]).axes[0]
    found = curves(axes)
    assert set(found) == {"certified: smoothed, vote", "empirical: pgd"}, "only guarantees are certified"
    np.testing.assert_allclose(found["certified: smoothed, vote"].get_ydata(), [0.75, 0.5, 0])
    np.testing.assert_allclose(found["empirical: pgd"].get_xdata()[1:], [0.1, 0.2])
    np.testing.assert_allclose(found["empirical: pgd"].get_ydata(), [1, 0.75, 0.5])


def test_dots_are_where_the_attack_was_run():
    (dots,) = (line for line in robust_figure([("pgd", ATTACKED)]).axes[0].get_lines() if line.get_marker() == "o")
    np.testing.assert_allclose(dots.get_xydata(), [[0.1, 0.75], [0.2, 0.5]])


def test_loudness_is_that_of_the_perturbation():
    axes = robust_figure([("pgd", ATTACKED)]).axes[0]  # norm 0.1 at 20 dB, 0.2 at 20 dB: median norm 1.5
    (top,) = axes.child_axes
    np.testing.assert_allclose(
        top.get_xticks(), [1.5 * 10 ** (-int(label.get_text()) / 20) for label in top.get_xticklabels()]
    )


@pytest.mark.parametrize("changes", [{"adversarial": "a"}, {"failed": "bad", "snr_db": None}])
def test_a_figure_whatever_was_found(tmp_path, changes):
    robust_figure([("pgd", [attack_row(**changes)])]).savefig(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_no_rows_is_an_error():
    with pytest.raises(ValueError, match="attacks must hold rows"):
        robust_figure([("pgd", [])])
