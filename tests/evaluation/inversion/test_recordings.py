import pytest
import torch

from voxcert.attacks.inversion.starts import Constant
from voxcert.encoders.sincnet import SincNet
from voxcert.evaluation.inversion.recordings import Recordings, baselines
from voxcert.evaluation.inversion.settings import Experiment, InversionSettings
from voxcert.evaluation.inversion.system import InvertedSystem


def recordings(num_classes):
    """An identification network with random weights, and 12 chunks of noise a speaker."""
    torch.manual_seed(0)
    network = SincNet(num_classes, chunk_samples=640, num_filters=4, channels=4, dim=8).eval()
    chunks = [torch.randn(12, 640) for _ in range(num_classes)]
    with torch.no_grad():
        d_vectors = [network.d_vectors(own) for own in chunks]
    return network, Recordings([str(number) for number in range(num_classes)], chunks, chunks, d_vectors)


def measured(network, heard, **defence):
    settings = InversionSettings("unused", [Experiment("zeros", "d_vector", Constant(0), 1.0)], **defence)
    return baselines(heard, InvertedSystem(network, settings))


def test_a_tie_is_an_error_of_the_system():
    """All posteriors of 40 classes are 0 to one digit, so it names nobody, not the first speaker in each chunk."""
    found = measured(*recordings(40), round_digits=1)
    for part in ("trained", "held_out"):
        assert found[part] == {"frame_error": 1.0, "utterance_error": 1.0, "speakers": 40, "frames": 480}
    assert found["averaged_chunks_accuracy"] == found["averaged_d_vectors_accuracy"] == 0.0


def test_without_ties_the_largest_posterior_names():
    network, heard = recordings(4)
    network.dnn2.wx[0].weight.data.mul_(30)
    found = measured(network, heard)
    with torch.no_grad():
        posteriors = [network.log_posteriors(own).exp() for own in heard.held_out]
        averaged = network.log_posteriors(torch.stack([own.mean(dim=0) for own in heard.trained]))
    right = torch.cat([own.argmax(dim=1) == index for index, own in enumerate(posteriors)])
    named = torch.stack([own.mean(dim=0).argmax() for own in posteriors])
    assert 0 < right.sum() < 48
    assert found["held_out"]["frame_error"] == pytest.approx(1 - right.sum().item() / 48)
    assert found["held_out"]["utterance_error"] == (named != torch.arange(4)).sum().item() / 4
    assert found["averaged_chunks_accuracy"] == (averaged.argmax(dim=1) == torch.arange(4)).sum().item() / 4
