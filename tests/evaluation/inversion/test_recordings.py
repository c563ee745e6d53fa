from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from voxcert.attacks.inversion.starts import Constant
from voxcert.data import LibriSpeech, SpeakerDataModule, SpeakerFolders, TimeSplit
from voxcert.data.identity import labels_hash
from voxcert.encoders.checkpoint import read_card
from voxcert.encoders.sincnet import SincNet
from voxcert.evaluation.inversion.recordings import Recordings, baselines, check_classes
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
    assert found["held_out_averaged_chunks_accuracy"] == found["held_out_averaged_d_vectors_accuracy"] == 0.0


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


def test_averages_of_held_out_speech_leave_out_who_has_none():
    network, heard = recordings(4)
    network.dnn2.wx[0].weight.data.mul_(30)
    heard = replace(heard, held_out=[heard.held_out[0][:0], *[own[6:] for own in heard.held_out[1:]]])
    found, classes = measured(network, heard), torch.arange(1, 4)
    with torch.no_grad():
        chunks = network.log_posteriors(torch.stack([own.mean(dim=0) for own in heard.held_out[1:]]))
        means = torch.stack([network.d_vectors(own).mean(dim=0) for own in heard.held_out[1:]])
        d_vectors = network.classify(means)
    assert found["held_out_averaged_chunks_accuracy"] == pytest.approx(
        (chunks.argmax(dim=1) == classes).sum().item() / 3
    )
    right = (d_vectors.argmax(dim=1) == classes).sum().item()
    assert right > 0
    assert found["held_out_averaged_d_vectors_accuracy"] == pytest.approx(right / 3)


def test_the_network_that_is_shipped_says_whom_it_names(librispeech):
    parts, root = ["train-clean-100"], Path(__file__).parents[3] / "checkpoints" / "sincnet-mini"
    split = {"train_parts": ["early"]}
    check_classes(SpeakerDataModule(TimeSplit(LibriSpeech(librispeech, parts)), **split), read_card(root))
    held_out = SpeakerDataModule(TimeSplit(LibriSpeech(librispeech, parts)), num_val_speakers=1, **split)
    with pytest.raises(ValueError, match="speakers that the network was .* got 200 others or in another"):
        check_classes(held_out, read_card(root))


def test_speakers_of_the_same_number_are_told_apart(tmp_path):
    for number, name in enumerate(("anna", "ben", "carl")):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "a.wav", np.random.default_rng(number).normal(0, 0.1, 32_000), 16_000)
    data = [
        SpeakerDataModule(TimeSplit(SpeakerFolders(str(tmp_path))), num_test_speakers=1, crop_seconds=0.4, seed=seed)
        for seed in range(9)
    ]
    first, other = data[0], next(one for one in data if one.classes.keys() != data[0].classes.keys())
    card = {"training": {"classes": labels_hash(first.classes)}}
    check_classes(first, card)
    check_classes(other, {})
    with pytest.raises(ValueError, match="data must have the speakers that the network .*, got 2 others"):
        check_classes(other, card)
