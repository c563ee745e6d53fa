"""A teacher: its losses against closed forms, and who learns from whom."""

import copy
import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint

import voxcert
from tiny import TINY
from voxcert.attacks import fgsm
from voxcert.encoders.base import Encoder
from voxcert.encoders.checkpoint import save_checkpoint
from voxcert.encoders.ecapa import ECAPA
from voxcert.training.adversarial_module import AdversarialEncoderModule
from voxcert.training.distillation import Distillation, contrast, cosine_distance, lesson
from voxcert.training.encoder_module import EncoderModule
from voxcert.training.export import export
from voxcert.training.losses import Consistency
from voxcert.training.noise import Fixed

EYE = torch.eye(4)


class Bare(Encoder):
    """An encoder without batch normalisation."""

    def __init__(self, dim: int = 24):
        super().__init__()
        self.dim = dim
        self.network = torch.nn.Linear(400, dim)

    def embed(self, waveform):
        """Embeds by a matrix."""
        return self.network(waveform)


@pytest.fixture
def start(tmp_path):
    """Checkpoint folder of a tiny encoder whose batch normalisation has seen something."""
    torch.manual_seed(0)
    encoder = ECAPA(**TINY)
    for _ in range(3):
        encoder.train()(0.1 * torch.randn(4, 4000))
    save_checkpoint(encoder.eval(), tmp_path / "start", {})
    return str(tmp_path / "start")


def made(start, distillation=None, kind=EncoderModule, **options):
    """A module that starts from a folder and learns from a copy of it, without a classifier."""
    torch.manual_seed(1)
    defaults = {"noise": Fixed(0.05), "classification_weight": 0.0, "init_from": start}
    return kind(ECAPA(**TINY), 4, distillation=distillation or Distillation(), **(defaults | options))


def batch(num=4, labels=4):
    waveform = 0.1 * torch.randn(num, 4000, generator=torch.Generator().manual_seed(2))
    return {"waveform": waveform, "label": torch.arange(num) % labels}


def quiet(module):
    module.log = module.log_dict = lambda *_, **__: None
    return module


def test_cosine_distance_of_the_same_the_orthogonal_and_the_opposite():
    assert cosine_distance(EYE.expand(3, 4, 4), EYE) == 0
    assert cosine_distance(EYE.roll(1, 0)[None], EYE) == 1
    assert cosine_distance(-EYE[None], EYE) == 2


@pytest.mark.parametrize("temperature", [0.05, 0.5, 2.0])
def test_contrast_of_orthogonal_speakers_is_the_closed_form(temperature):
    """The own speaker has cosine 1, each of the three others 0."""
    distillation, taught = started(temperature=temperature), lesson(EYE, torch.arange(4))
    expected = math.log(1 + 3 * math.exp(-1 / temperature))
    assert contrast(distillation.logits(EYE[None], taught), taught.place).item() == pytest.approx(expected, abs=1e-6)


def test_a_student_that_hears_no_difference_guesses():
    taught = lesson(EYE, torch.arange(4))
    same = F.normalize(torch.ones(2, 4, 4), dim=-1)
    assert contrast(started().logits(same, taught), taught.place).item() == pytest.approx(math.log(4))


def test_contrast_equals_the_sum_written_out():
    generator = torch.Generator().manual_seed(0)
    student, target = (F.normalize(torch.randn(5, 4, generator=generator), dim=-1) for _ in range(2))
    taught, total = lesson(target, torch.arange(5)), 0.0
    for i in range(5):
        terms = [math.exp(float(student[i] @ target[j]) / 0.2) for j in range(5)]
        total -= math.log(terms[i] / sum(terms)) / 5
    value = contrast(started(temperature=0.2).logits(student[None], taught), taught.place)
    assert value.item() == pytest.approx(total, rel=1e-5)


def test_examples_of_one_speaker_share_a_centre():
    taught = lesson(EYE, torch.tensor([7, 3, 7, 5]))
    assert taught.place.tolist() == [2, 0, 2, 1]
    torch.testing.assert_close(taught.centres[2], F.normalize(EYE[0] + EYE[2], dim=0))
    alone = lesson(EYE, torch.zeros(4, dtype=torch.long))
    assert contrast(started().logits(EYE[None], alone), alone.place) == 0  # nobody to be told from


def started(**settings):
    """A distillation between two encoders of four dimensions."""
    distillation = Distillation(**settings)
    distillation.start(Bare(4))
    return distillation


def test_a_student_that_hears_what_its_teacher_hears_agrees(start):
    module = made(start, noise=None).eval()
    data = batch()
    taught = module.distillation.teach(data["waveform"], data["label"])
    distance, _ = module.distillation(module(data["waveform"])[None], taught)
    assert distance.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0)], ids=["cosine", "contrast"])
def test_gradients_reach_the_student_alone(start, weights):
    module = quiet(made(start, Distillation(None, *weights)))
    teacher = module.distillation._teacher[0]
    before = copy.deepcopy(teacher.state_dict())
    module.train().training_step(batch(), 0).backward()
    assert all(parameter.grad is not None for parameter in module.parameters())  # none is unused
    assert any(parameter.grad.abs().max() > 0 for parameter in module.encoder.parameters())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not teacher.training
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


def test_the_teacher_hears_the_clean_example(start):
    module, heard = quiet(made(start, noise=Fixed(0.5), num_noise=2)), []
    module.distillation._teacher[0].register_forward_pre_hook(lambda _, args: heard.append(args[0]))
    module.training_step(batch(), 0)
    assert torch.equal(torch.stack(heard), batch()["waveform"][None])  # once


def test_weights_multiply_the_terms(start):
    def loss(*weights, classification=0.0):
        module = quiet(made(start, Distillation(None, *weights), classification_weight=classification))
        module._current_margin = lambda: 0.2
        torch.manual_seed(3)
        return module.eval().training_step(batch(), 0).item()

    cosine = loss(1.0, 0.0)
    assert loss(2.0, 3.0) == pytest.approx(2 * cosine + 3 * loss(0.0, 1.0), rel=1e-5)
    softmax = loss(1.0, 0.0, classification=1.0) - cosine
    assert loss(1.0, 0.0, classification=0.5) - cosine == pytest.approx(softmax / 2, rel=1e-5)


def test_under_autocast_agreement_is_measured_in_float32(start, tmp_path):
    """bf16 has no number between 0.996 and 1, where the cosines are."""
    torch.manual_seed(0)
    save_checkpoint(ECAPA(**(TINY | {"dim": 40})), tmp_path / "big", {})
    module = made(start, Distillation(str(tmp_path / "big")))
    taught = lesson(F.normalize(torch.randn(4, 40), dim=-1), torch.arange(4))
    embedding = F.normalize(torch.randn(1, 4, 24), dim=-1)
    plain = module.distillation(embedding, taught)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(torch.stack(module.distillation(embedding, taught)), torch.stack(plain))
        assert module.distillation.teach(**batch()).target.dtype == torch.float32


def test_a_teacher_of_another_size_and_kind(start, tmp_path):
    torch.manual_seed(0)
    big = ECAPA(**(TINY | {"dim": 40})).eval()
    save_checkpoint(big, tmp_path / "big", {})
    module = quiet(made(start, Distillation(str(tmp_path / "big")), init_from=None))
    assert module.distillation.projection.weight.shape == (40, 24)
    module.training_step(batch(), 0).backward()
    assert module.distillation.projection.weight.grad.abs().max() > 0
    data = batch()
    with torch.no_grad():
        torch.testing.assert_close(module.distillation.teach(**data).target, big(data["waveform"]))


def test_a_student_nears_its_teacher(start):
    """Forty steps on four tones, under noise at which the two disagree at first."""
    module = quiet(made(start, freeze_statistics=True)).train()
    tones = 0.1 * torch.sin(torch.arange(4000) * torch.tensor([[0.03], [0.1], [0.3], [1.0]]))
    optimizer = torch.optim.Adam(module.parameters(), lr=5e-3)
    losses = []
    for _ in range(40):
        loss = module.training_step({"waveform": tones, "label": torch.arange(4)}, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


@pytest.mark.parametrize("classification_weight", [0.0, 1.0])
def test_smoothed_attacks_consistency_and_averages_combine(start, data, trainer, tmp_path, classification_weight):
    options = {"num_noise": 2, "regularizer": Consistency(), "attack": fgsm(epsilon=0.1, norm="l2")}
    module = made(start, kind=AdversarialEncoderModule, classification_weight=classification_weight, **options)
    callbacks = [EMAWeightAveraging(decay=0.9), ModelCheckpoint(tmp_path / "kept", "run", every_n_train_steps=2)]
    fitted = trainer(max_steps=2, enable_checkpointing=True, callbacks=callbacks)
    fitted.fit(module, datamodule=data)
    for name in ("loss", "regularizer", "teacher_distance", "teacher_contrast", "perturbation"):
        assert fitted.callback_metrics[f"train/{name}"] > 0
    assert ("train/softmax" in fitted.callback_metrics) == (classification_weight > 0)
    stored = torch.load(tmp_path / "kept" / "run.ckpt", weights_only=True)
    kept = {name.partition(".")[0] for name in stored["state_dict"]}
    assert kept == {"encoder", "criterion"} if classification_weight else kept == {"encoder"}


def test_without_a_classifier_the_attack_leads_away_from_the_own_speaker(start):
    module = quiet(made(start, kind=AdversarialEncoderModule, attack=fgsm(epsilon=0.05, norm="l2"), noise=None)).eval()
    data = batch(num=6, labels=3)
    taught = module.distillation.teach(**data)
    views = module._views(data["waveform"])

    def confusion(views):
        return contrast(module._logits(module(views[0])[None], taught), taught.place)

    assert confusion(module._perturb(views, data, taught)) > confusion(views) + 1e-4


def test_export_holds_no_teacher_and_no_projection(start, data, trainer, tmp_path):
    torch.manual_seed(0)
    save_checkpoint(ECAPA(**(TINY | {"dim": 40})), tmp_path / "big", {})
    module = made(start, Distillation(str(tmp_path / "big")))
    fitted = trainer(max_steps=1)
    fitted.fit(module, datamodule=data)
    fitted.save_checkpoint(tmp_path / "kept" / "run.ckpt", weights_only=False)
    stored = torch.load(tmp_path / "kept" / "run.ckpt", weights_only=True)["state_dict"]
    assert {name for name in stored if not name.startswith("encoder.")} == {"distillation.projection.weight"}
    folder = export(tmp_path / "kept" / "run.ckpt", tmp_path / "out")
    waveform = batch()["waveform"]
    with torch.no_grad():
        torch.testing.assert_close(voxcert.load_encoder(folder)(waveform), module.encoder.eval()(waveform))


@pytest.mark.parametrize("callbacks", [list, lambda: [EMAWeightAveraging(decay=0.5)]], ids=["last", "averaged"])
def test_a_resumed_run_learns_from_the_same_teacher(start, data, trainer, tmp_path, callbacks):
    """Two epochs in one go and one by one end alike: the copy is of the start, not of what was resumed."""
    whole, first, states = made(start), trainer(max_epochs=2, callbacks=callbacks()), []
    whole.on_train_epoch_start = lambda: states.append(torch.get_rng_state())
    whole.on_train_epoch_end = lambda: first.save_checkpoint(tmp_path / f"{whole.current_epoch}.ckpt", False)
    first.fit(whole, datamodule=data)

    resumed, options = made(start), {"datamodule": data, "ckpt_path": tmp_path / "0.ckpt", "weights_only": True}
    resumed.on_train_epoch_start = lambda: torch.set_rng_state(states[1])
    trainer(max_epochs=2, callbacks=callbacks()).fit(resumed, **options)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, atol=1e-5, rtol=1e-4)

    torch.manual_seed(9)
    save_checkpoint(ECAPA(**TINY), tmp_path / "other", {})
    with pytest.raises(ValueError, match="a resumed run must keep its teacher [0-9a-f]+, got None"):
        trainer(max_epochs=2, callbacks=callbacks()).fit(EncoderModule(ECAPA(**TINY), 4), **options)
    with pytest.raises(ValueError, match="a resumed run must keep its teacher [0-9a-f]+, got [0-9a-f]+;"):
        trainer(max_epochs=2, callbacks=callbacks()).fit(made(start, Distillation(str(tmp_path / "other"))), **options)


def test_frozen_statistics_stay_and_the_other_weights_learn(start, data, trainer, tmp_path):
    module = made(start, freeze_statistics=True)
    before = copy.deepcopy(module.state_dict())
    trainer(max_epochs=2, val_check_interval=1).fit(module, datamodule=data)  # validation gives the modes back
    after = module.state_dict()
    statistics = [name for name in before if "running_" in name or "num_batches" in name]
    assert statistics
    assert all(torch.equal(before[name], after[name]) for name in statistics)
    assert not torch.equal(before["encoder.network.asp_bn.norm.weight"], after["encoder.network.asp_bn.norm.weight"])

    inside = tmp_path / "inside.ckpt"
    crashed = made(start, freeze_statistics=True)
    first = trainer(max_epochs=2)
    crashed.on_train_batch_end = lambda outputs, batch, index: index or first.save_checkpoint(inside, False)
    first.fit(crashed, datamodule=data)
    resumed = made(start, freeze_statistics=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You're resuming from a checkpoint that ended before the epoch ended")
        trainer(max_epochs=2).fit(resumed, datamodule=data, ckpt_path=inside, weights_only=True)
    assert resumed.trainer.global_step > 1
    assert all(torch.equal(before[name], resumed.state_dict()[name]) for name in statistics)

    free = made(start)
    trainer(max_steps=1).fit(free, datamodule=data)
    assert any(not torch.equal(before[name], free.state_dict()[name]) for name in statistics)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cosine_weight": -1.0}, "cosine_weight must be at least 0 and finite, got -1.0"),
        ({"contrast_weight": float("nan")}, "contrast_weight must be at least 0 and finite, got nan"),
        ({"cosine_weight": 0.0, "contrast_weight": 0.0}, "cosine_weight or contrast_weight must be above 0"),
        ({"temperature": 0.0}, "temperature must be positive and finite, got 0.0"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Distillation(**settings)


def test_what_needs_a_start_says_so(start, monkeypatch):
    with pytest.raises(ValueError, match="distillation needs a teacher, or init_from to copy one from"):
        made(start, init_from=None)
    with pytest.raises(ValueError, match="nowhere does not exist"):
        made(start, Distillation("nowhere"))
    with pytest.raises(ValueError, match="freeze keeps weights that init_from brings"):
        EncoderModule(ECAPA(**TINY), 4, freeze_statistics=True)
    monkeypatch.setattr("voxcert.training.encoder_module.load_weights", lambda *_: None)
    with pytest.raises(ValueError, match="freeze_statistics needs an encoder with batch normalisation, got a Bare"):
        EncoderModule(Bare(), 4, freeze_statistics=True, init_from=start)
    with pytest.raises(ValueError, match="classification_weight must be positive, or 0 with distillation, got 0"):
        EncoderModule(ECAPA(**TINY), 4, classification_weight=0)
