import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from voxcert.attacks.inversion.starts import Uniform
from voxcert.encoders.sincnet import SincNet
from voxcert.evaluation.inversion.inverter import Inverter
from voxcert.evaluation.inversion.settings import Experiment, InversionSettings
from voxcert.evaluation.inversion.system import InvertedSystem

NAMES = [f"s{number:02d}" for number in range(40)]
STILL = 1e-9  # a step that changes nothing


@pytest.mark.parametrize("method", ["standard", "sliding", "d_vector"])
def test_who_is_not_told_apart_by_rounded_posteriors_is_not_inverted(tmp_path, method):
    """All posteriors of 40 classes are 0 to one digit: as likely the first speaker as any other."""
    torch.manual_seed(0)
    network = SincNet(40, chunk_samples=640, num_filters=4, channels=4, dim=8).eval()
    experiment = Experiment("uniform", method, Uniform(-1, 1), STILL)
    settings = InversionSettings(str(tmp_path), [experiment], steps=1, start_samples=1280, round_digits=1, keep=False)
    references = [F.normalize(torch.randn(2, 8), dim=-1) for _ in NAMES]
    rows = Inverter(InvertedSystem(network, settings), NAMES, references).rows((experiment, list(range(40))))
    assert {row.posterior for row in rows} == {0.0}
    assert {(row.named, row.correct, row.chunk_accuracy, row.failed) for row in rows} == {(None, False, 0.0, None)}


def test_whom_the_network_hears_is_named(tmp_path):
    torch.manual_seed(0)
    network = SincNet(4, chunk_samples=640, num_filters=4, channels=4, dim=8).eval()
    network.dnn2.wx[0].weight.data.mul_(30)
    experiment = Experiment("uniform", "standard", Uniform(-1, 1), STILL)
    settings = InversionSettings(str(tmp_path), [experiment], steps=1, start_samples=1920, keep=False)
    system = InvertedSystem(network, settings)
    rows = Inverter(system, NAMES[:4], 4 * [F.normalize(torch.randn(2, 8), dim=-1)]).rows((experiment, [0, 1, 2, 3]))
    parts = [load_file(tmp_path / "parts" / experiment.title / f"{name}.safetensors") for name in NAMES[:4]]
    posteriors = [system.released(network.chunks(part["waveforms"][None])[0]) for part in parts]
    assert [row.named for row in rows] == [NAMES[int(own.mean(dim=0).argmax())] for own in posteriors]
    for index, (row, own) in enumerate(zip(rows, posteriors, strict=True)):
        assert row.chunk_accuracy == float((own.argmax(dim=1) == index).float().mean())
