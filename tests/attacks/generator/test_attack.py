import pytest
import torch

from voxcert.attacks import Attack, ExpectationOverNoise, Margin
from voxcert.attacks.generator.attack import ssed
from voxcert.attacks.generator.checkpoint import load_generator
from voxcert.attacks.generator.network import Residual, SaliencyGenerator, Spectrum, log_magnitude
from voxcert.encoders.base import Encoder, Recognizer
from voxcert.encoders.checkpoint import CheckpointError, save_checkpoint
from voxcert.encoders.ecapa import ECAPA

SMALL = {"channels": [4, 6, 8], "dilations": [1]}
DIM = 5


class Nothing(Encoder):
    """Every waveform is the first speaker."""

    dim = DIM

    def embed(self, waveform):
        """Returns the first unit vector."""
        return torch.eye(DIM)[:1].expand(len(waveform), -1)


@pytest.fixture
def recognizer():
    return Recognizer(Nothing(), torch.eye(DIM)[:3], ["ann", "bob", "eve"])


def network(**settings):
    torch.manual_seed(0)
    return SaliencyGenerator(**(SMALL | settings)).eval()


def waveforms(batch=2, time=1000):
    return 0.1 * torch.randn(batch, time, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("window", [None, 64])
@pytest.mark.parametrize("time", [16, 17, 1001, 1002, 1003])
def test_any_length_keeps_its_shape_and_its_bounds(time, window):
    noise, saliency = network(window=window)(waveforms(2, time))
    assert noise.shape == saliency.shape == (2, time)
    assert noise.abs().max() <= 1
    assert saliency.min() >= 0
    assert saliency.max() <= 1
    assert noise.std() > 0  # it does add something
    assert saliency.std() > 0


def test_rows_do_not_depend_on_each_other():
    x = waveforms(3)
    for together, alone in zip(network()(x), network()(x[1:2]), strict=True):
        torch.testing.assert_close(together[1:2], alone)


def test_the_default_size_is_that_of_the_image_generator():
    # By hand: encoder 7*32 + 3*32*64 + 3*64*128, twelve residual convolutions 3*128*128, two decoders
    # 3*128*64 + 3*64*32 + 7*32 + 1; batch norms have two parameters a channel.
    convolutions = 7 * 32 + 3 * 32 * 64 + 3 * 64 * 128 + 12 * 3 * 128**2
    decoder = 3 * 128 * 64 + 3 * 64 * 32 + 7 * 32 + 1 + 2 * (64 + 32)
    norms = 2 * (32 + 64 + 128) + 2 * 12 * 128
    default = SaliencyGenerator()
    assert sum(parameter.numel() for parameter in default.parameters()) == convolutions + norms + 2 * decoder
    assert sum(isinstance(part, Residual) for part in default.modules()) == 6
    assert default.multiple == 4


@pytest.mark.parametrize("time", [50, 1000, 1013])
def test_the_spectrum_is_inverted(time):
    spectrum, x = Spectrum(64), waveforms(2, time)
    torch.testing.assert_close(spectrum.inverse(spectrum(x), time), x)
    assert spectrum(x).shape == (2, 33, time // 16 + 1)


def test_gains_of_a_spectrum_filter_the_waveform():
    """Equal gains at all frequencies and times give the waveform back, under the tanh."""
    net, x = network(window=64), waveforms()
    last = net.noise[-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(0.5)
    torch.testing.assert_close(net(x)[0], (0.5 * x).tanh())


def test_how_loud_speech_is_does_not_matter_to_a_spectrum():
    x = 1000 * waveforms()  # far above the floor of the logarithm
    torch.testing.assert_close(log_magnitude(Spectrum(64)(x)), log_magnitude(Spectrum(64)(2 * x)), atol=1e-3, rtol=0)


def test_without_saliency_everything_matters():
    noise, saliency = network(saliency=False)(waveforms())
    assert torch.equal(saliency, torch.ones_like(noise))


def test_attack_adds_epsilon_times_noise_times_saliency(recognizer):
    net, x = network(epsilon=0.02), waveforms()
    noise, saliency = net(x)
    labels = torch.tensor([1, 1])
    own = ssed(recognizer, x, labels, network=net, targeted=True)
    torch.testing.assert_close(own, x + 0.02 * noise * saliency)
    other = ssed(recognizer, x, labels, network=net, epsilon=torch.tensor([0.0, 0.01]), targeted=True)
    torch.testing.assert_close(other, x + torch.tensor([[0.0], [0.01]]) * noise * saliency)
    assert not own.requires_grad
    assert ssed(recognizer, x.sign(), labels, network=net, epsilon=0.5, targeted=True).abs().max() == 1


def test_told_whom_to_forge(recognizer):
    net, x = network(target_dim=DIM), waveforms(1).repeat(2, 1)
    forged = ssed(recognizer, x, torch.tensor([1, 2]), network=net, targeted=True)
    assert not torch.equal(forged[0], forged[1])
    noise, saliency = net(x, torch.eye(DIM)[1:3])
    torch.testing.assert_close(forged, x + net.epsilon * noise * saliency)
    with pytest.raises(ValueError, match="recognizer must have prototypes"):
        ssed(lambda x: x[:, :3], x, torch.tensor([1, 2]), network=net, targeted=True)
    with pytest.raises(ValueError, match=f"of the size that the generator was trained with, {DIM + 1}, got {DIM}"):
        ssed(recognizer, x, torch.tensor([1, 2]), network=network(target_dim=DIM + 1), targeted=True)


def test_a_smoothed_recognizer_says_who_is_enrolled(recognizer):
    smoothed, x, labels = ExpectationOverNoise(recognizer, 0.1, 2), waveforms(), torch.tensor([1, 2])
    told, one = network(target_dim=DIM), network(target="bob")
    bare = ssed(recognizer, x, labels, network=told, targeted=True)
    assert torch.equal(ssed(smoothed, x, labels, network=told, targeted=True), bare)
    with pytest.raises(ValueError, match=r"labels must be the generator's target 'bob', got \['eve'\]"):
        ssed(smoothed, x, labels, network=one, targeted=True)


@pytest.mark.parametrize("told", [True, False])
def test_target_and_network_must_agree(told):
    target = None if told else torch.eye(DIM)[:2]
    with pytest.raises(ValueError, match="target must (have shape|be None)"):
        network(target_dim=DIM if told else None)(waveforms(), target)


def test_only_the_target_it_was_trained_for(recognizer):
    net = network(target="bob")
    ssed(recognizer, waveforms(), torch.tensor([1, 1]), network=net, targeted=True)
    with pytest.raises(ValueError, match=r"labels must be the generator's target 'bob', got \['ann'\]"):
        ssed(recognizer, waveforms(), torch.tensor([1, 0]), network=net, targeted=True)
    with pytest.raises(ValueError, match="targeted must be True"):
        ssed(recognizer, waveforms(), torch.tensor([1, 1]), network=net)


@pytest.mark.parametrize("settings", [{"channels": [1, 2]}, {"strides": [1, 0, 2]}, {"epsilon": 0}, {"window": 30}])
def test_sizes_that_make_no_sense(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must be"):
        SaliencyGenerator(**settings)


def test_round_trip_and_attack_from_a_folder(recognizer, tmp_path):
    net = network(target="eve", epsilon=0.03, strides=[4, 2, 2], window=64)
    net.epsilon = 0.01
    save_checkpoint(net, tmp_path, {"license": "apache-2.0"})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["card.json", "config.yaml", "model.safetensors"]
    loaded = load_generator(tmp_path)
    assert (loaded.target, loaded.epsilon, loaded.training) == ("eve", 0.01, False)
    attack = ssed(network=str(tmp_path), targeted=True)
    x, labels = waveforms(), torch.tensor([2, 2])
    assert torch.equal(attack(recognizer, x, labels), ssed(recognizer, x, labels, network=net, targeted=True))


def test_attack_is_named_in_yaml(tmp_path, recognizer):
    from jsonargparse import ArgumentParser

    save_checkpoint(network(), tmp_path, {})
    parser = ArgumentParser()
    parser.add_argument("--attack", type=Attack)
    settings = [f"--attack.network={tmp_path}", "--attack.targeted=true", "--attack.epsilon=0.01"]
    config = parser.parse_args(["--attack.class_path=voxcert.attacks.generator.attack.ssed", *settings])
    attack = parser.instantiate(config).attack
    forged = attack(recognizer, waveforms(), torch.tensor([0, 0]), objective=Margin())
    assert 0 < (forged - waveforms()).abs().max() <= 0.01


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="is not the checkpoint folder of a generator: .*No such file"):
        load_generator(tmp_path)
    tiny = {"channels": 8, "mfa_channels": 24, "dim": 4, "attention_channels": 4, "se_channels": 4, "res2net_scale": 4}
    save_checkpoint(ECAPA(**tiny), tmp_path, {})
    with pytest.raises(CheckpointError, match=r"class_path of a generator must be .*, got 'voxcert.encoders"):
        load_generator(tmp_path)
    save_checkpoint(network(), tmp_path, {})
    text = (tmp_path / "config.yaml").read_text()
    (tmp_path / "config.yaml").write_text(text.replace("- 8", "- 9"))
    with pytest.raises(CheckpointError, match="size mismatch"):
        load_generator(tmp_path)
