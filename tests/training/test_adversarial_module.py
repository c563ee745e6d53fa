import copy

import numpy as np
import pytest
import scipy.stats
import torch
from torch.utils.data import DataLoader

import voxcert
from voxcert.attacks import CrossEntropy, attack, fgsm, nes, norms, pgd
from voxcert.encoders.base import Encoder
from voxcert.training.adversarial_module import AdversarialEncoderModule
from voxcert.training.attacked import Divergence
from voxcert.training.encoder_module import EncoderModule
from voxcert.training.export import export
from voxcert.training.losses import Consistency, Stability
from voxcert.training.noise import Fixed

TIME = 400

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`")


class Plane(Encoder):
    """Projects waveforms on two orthonormal directions: an embedding is an angle."""

    def __init__(self):
        super().__init__()
        self.dim = 2
        draws = torch.randn(TIME, 2, generator=torch.Generator().manual_seed(0))
        self.weight = torch.nn.Parameter(torch.linalg.qr(draws).Q.T.contiguous())

    def embed(self, waveform):
        """Projects (batch, time) to (batch, 2)."""
        return waveform @ self.weight.T


def plane_module(**options):
    """A module on the plane whose two classes are its axes; it logs nowhere."""
    module = AdversarialEncoderModule(Plane(), 2, **{"margin": 0.0, "scale": 5.0} | options)
    torch.nn.init.eye_(module.criterion.weight)
    module.log = module.log_dict = lambda *_, **__: None
    module._current_margin = lambda: 0.0
    return module


def batch(num=4, time=TIME, classes=2):
    generator = torch.Generator().manual_seed(1)
    waveform = 0.1 * torch.randn(num, time, generator=generator)
    return {"waveform": waveform, "label": torch.arange(num) % classes}


def recorded(module):
    """The list that every input of the module's encoder is appended to."""
    inputs = []
    module.encoder.register_forward_pre_hook(lambda _, args: inputs.append(args[0].detach().clone()))
    return inputs


def best_direction(module, views, label):
    """In which direction of the plane, for every example, the mean probability of its class falls fastest; numpy.

    p = sigmoid(scale * (cos a - sin a)) for the first axis at angle a and radius r; dp / da is along (-sin a, cos a).
    """
    weight = module.encoder.weight.detach().double().numpy()
    points = views.double().numpy() @ weight.T  # (views, batch, 2)
    radius, angle = np.hypot(*np.moveaxis(points, -1, 0)), np.arctan2(points[..., 1], points[..., 0])
    probability = 1 / (1 + np.exp(-module.criterion.scale * (np.cos(angle) - np.sin(angle))))
    slope = -probability * (1 - probability) * (np.sin(angle) + np.cos(angle)) / radius
    tangent = np.stack([-np.sin(angle), np.cos(angle)], axis=-1)
    gradient = (slope[..., None] * tangent).sum(axis=0)  # of the first class; the second is its negative
    gradient = np.where(label.numpy()[:, None] == 0, -gradient, gradient)
    return (gradient / np.linalg.norm(gradient, axis=-1, keepdims=True)) @ weight


@pytest.mark.parametrize("options", [{}, {"noise": Fixed(0.05), "num_noise": 3}], ids=["clean", "smoothed"])
def test_perturbation_is_the_closed_form_of_one_step(options):
    """One step in the l2 ball goes down the gradient of the mean probability over the very views of the loss."""
    module, data = plane_module(attack=fgsm(epsilon=0.01, norm="l2"), **options), batch()
    views = module._views(data["waveform"])
    perturbed = module._perturb(views, data)
    expected = 0.01 * best_direction(module, views, data["label"])
    for view, original in zip(perturbed, views, strict=True):
        np.testing.assert_allclose((view - original).detach().numpy(), expected, atol=1e-6)


def test_attack_and_loss_share_their_noise():
    module, data = plane_module(attack=fgsm(epsilon=0.01, norm="l2"), noise=Fixed(0.05), num_noise=2), batch()
    inputs = recorded(module)
    module.training_step(data, 0)
    attacked, trained = inputs  # one gradient step, one training pass
    noise = attacked - data["waveform"].repeat(2, 1)
    assert 0.045 < noise.std() < 0.055
    assert not torch.equal(noise[:4], noise[4:])
    perturbation = trained - attacked
    torch.testing.assert_close(perturbation[:4], perturbation[4:], atol=1e-7, rtol=0)
    torch.testing.assert_close(norms(perturbation, "l2"), torch.full((8,), 0.01), atol=1e-6, rtol=0)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_perturbations_fill_the_ball_and_spare_the_clean_share(norm):
    torch.manual_seed(0)  # of the noise: now and then an example is best off inside the ball
    module = plane_module(attack=pgd(epsilon=0.02, norm=norm, steps=3), clean_share=0.25, noise=Fixed(0.01))
    data = batch(num=8)
    views = module._views(data["waveform"])
    perturbation = (module._perturb(views, data) - views)[0]
    assert torch.equal(perturbation[:2], torch.zeros(2, TIME))
    torch.testing.assert_close(norms(perturbation[2:], norm), torch.full((6,), 0.02), atol=1e-6, rtol=0)


def test_all_clean_is_the_plain_module():
    plain = EncoderModule(Plane(), 2)
    module = plane_module(attack=fgsm(epsilon=0.02), clean_share=1.0)
    data = batch()
    assert torch.equal(module._perturb(module._views(data["waveform"]), data), plain._views(data["waveform"]))


def test_waveforms_that_overshoot_are_attacked_too():
    module, data = plane_module(attack=fgsm(epsilon=0.02, norm="l2")), batch()
    data["waveform"][0, 0] = 1.001
    views = module._views(data["waveform"])
    assert (module._perturb(views, data) - views).norm(dim=-1).min() > 0.019


def test_trades_keeps_a_clean_view_and_maximises_the_divergence():
    module = plane_module(
        attack=pgd(epsilon=0.02, norm="l2", steps=20, step_size=0.02), regularizer=Stability(weight=6.0)
    )
    data = batch()
    views = module._perturb(module._views(data["waveform"]), data)
    assert torch.equal(views[0], data["waveform"])
    log_probability = [module._log_probability(view[None]).detach() for view in views]
    reached = -Divergence(clean=log_probability[0]).loss(log_probability[1], data["label"], targeted=False)

    weight = module.encoder.weight.detach()
    points = (views[1] - views[0]).detach() @ weight.T
    radius, angle = points.norm(dim=1), torch.atan2(points[:, 1], points[:, 0])
    torch.testing.assert_close(radius, torch.full((4,), 0.02))
    for index in range(4):  # no neighbour on the circle around the example is better
        angles = angle[index] + torch.linspace(-0.5, 0.5, 101)
        circle = radius[index] * torch.stack([angles.cos(), angles.sin()], dim=1) @ weight
        around = module._log_probability((data["waveform"][index] + circle)[None]).detach()
        divergence = -Divergence(clean=log_probability[0][index]).loss(around, torch.zeros(101), targeted=False)
        assert divergence.min() < 0.9 * reached[index]
        assert divergence.max() < 1.001 * reached[index]


def test_trades_loss_is_that_of_the_paper():
    """Cross entropy of the clean example and beta times KL(clean || adversarial)."""
    module = plane_module(attack=fgsm(epsilon=0.05, norm="l2"), noise=Fixed(0.01), regularizer=Stability(weight=6.0))
    data, inputs = batch(), recorded(module)
    loss = module.training_step(data, 0).item()
    points = (inputs[-1].double() @ module.encoder.weight.T.double()).detach().numpy()
    logits = 5.0 * points / np.linalg.norm(points, axis=1, keepdims=True)
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    clean, adversarial = probability[:4], probability[4:]
    cross_entropy = -np.log(clean[np.arange(4), data["label"]]).mean()
    divergence = scipy.stats.entropy(clean, adversarial, axis=1).mean()
    assert loss == pytest.approx(cross_entropy + 6 * divergence, rel=1e-4)


def test_gradients_are_those_of_the_training_pass_alone():
    module, data = plane_module(attack=pgd(epsilon=0.02, steps=2), noise=Fixed(0.01)), batch()
    inputs = recorded(module)
    module.training_step(data, 0).backward()
    gradients = {name: parameter.grad.clone() for name, parameter in module.named_parameters()}
    module.zero_grad()
    logits = module.criterion.logits(module.encoder(inputs[-1]))
    torch.nn.functional.cross_entropy(logits, data["label"]).backward()
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad)


def test_attack_leaves_batch_statistics_and_modes(encoder):
    module = AdversarialEncoderModule(encoder, 4, attack=pgd(epsilon=0.01, steps=2))
    module.log = lambda *_, **__: None
    module.encoder.network.blocks[0].eval()
    modes = [part.training for part in module.modules()]
    before = copy.deepcopy(module.state_dict())
    data = batch(time=4_000, classes=4)
    during = []
    module.encoder.register_forward_hook(lambda part, *_: during.append(part.training))
    module._perturb(module._views(data["waveform"]), data)
    assert during == [False, False]
    assert [part.training for part in module.modules()] == modes
    assert len(set(modes)) == 2
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())


BATCHES = DataLoader([batch(time=4_000, classes=4)] * 2, batch_size=None)


def fit(module, trainer, steps=4, **options):
    """Trains on a batch of noise, twice in each epoch."""
    fitted = trainer(max_steps=steps, max_epochs=-1, **options)
    fitted.fit(module, BATCHES)
    return fitted


@attack
def looks_first(recognizer, waveform, labels, *, objective, generator, targeted=False):
    """An attack that begins without gradients, with which autocast must not keep the weights that it casts."""
    with torch.no_grad():
        recognizer(waveform)
    return fgsm(recognizer, waveform, labels, epsilon=0.01, objective=objective)


def test_autocast_trains_every_weight(encoder, trainer):
    module = AdversarialEncoderModule(encoder, 4, attack=looks_first())
    missing = []
    module.on_after_backward = lambda: missing.extend(n for n, p in module.named_parameters() if p.grad is None)
    fit(module, trainer, steps=2, precision="bf16-mixed")
    assert missing == []
    assert all(parameter.isfinite().all() for parameter in module.parameters())


def test_warmup_scales_the_perturbation(encoder, trainer):
    module = AdversarialEncoderModule(encoder, 4, attack=fgsm(epsilon=0.01, norm="l2"), epsilon_warmup=0.5)
    lengths = []
    module.on_train_batch_end = lambda *_: lengths.append(float(module.trainer.callback_metrics["train/perturbation"]))
    fit(module, trainer)
    assert lengths == pytest.approx([0, 0.005, 0.01, 0.01], abs=1e-6)


def seed(step):
    torch.manual_seed(step)


def test_a_resumed_run_takes_the_same_steps(encoder, trainer, tmp_path):
    def make():
        return AdversarialEncoderModule(
            copy.deepcopy(encoder),
            4,
            attack=pgd(epsilon=0.01, steps=1),
            epsilon_warmup=0.75,
            noise=Fixed(0.01),
            num_noise=2,
            regularizer=Consistency(),
        )

    def save():
        if whole.current_epoch == 0:
            whole.trainer.save_checkpoint(tmp_path / "half.ckpt", weights_only=False)

    whole, resumed = make(), make()
    for module in (whole, resumed):  # the same noise and random starts at the same step
        module.on_train_batch_start = lambda batch, batch_idx, module=module: seed(module.global_step)
    whole.on_train_epoch_end = save
    fit(whole, trainer)
    rest = trainer(max_steps=4, max_epochs=-1)
    rest.fit(resumed, BATCHES, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert rest.global_step == 4
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, atol=1e-6, rtol=1e-5)


def test_a_run_is_exported(encoder, trainer, tmp_path):
    module = AdversarialEncoderModule(encoder, 4, attack=fgsm(epsilon=0.01))
    fitted = fit(module, trainer, steps=1)
    fitted.save_checkpoint(tmp_path / "run.ckpt")
    folder = export(tmp_path / "run.ckpt", tmp_path / "tiny")
    waveform = batch(time=4_000)["waveform"]
    torch.testing.assert_close(voxcert.load_encoder(folder)(waveform), encoder.eval()(waveform))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clean_share": 1.5}, r"clean_share must be a share in \[0, 1\], got 1.5"),
        ({"epsilon_warmup": -0.1}, r"epsilon_warmup must be a share in \[0, 1\], got -0.1"),
        (
            {"attack": fgsm(epsilon=0.1, objective=CrossEntropy())},
            "leave its objective to the training, got .*Cross",
        ),
        ({"attack": fgsm(epsilon=0.1, targeted=True)}, "attack must be untargeted"),
        ({"regularizer": Consistency()}, "regularizer compares noisy views"),
        ({"num_noise": 0}, "num_noise must be at least 1, and 1 without noise, got 0"),
        ({"attack": nes(epsilon=0.01)}, "attack must ask about a whole batch at once, .* got nes"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        AdversarialEncoderModule(Plane(), 2, **{"attack": fgsm(epsilon=0.1)} | options)
