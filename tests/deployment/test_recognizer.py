import threading
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
import torch
import yaml

from voxcert.data import AudioError, SpeakerDataModule, SpeakerFolders, Utterance
from voxcert.data.identity import planned, read_plan, write_plan
from voxcert.deployment import SmoothedRecognizer
from voxcert.encoders.base import prototypes_of
from voxcert.encoders.checkpoint import checkpoint_hash
from voxcert.encoders.loading import load_encoder
from voxcert.evaluation.certification.folder import read_prototypes, read_run, read_trials_of_run, write_prototypes
from voxcert.evaluation.certification.job import certify_speakers
from voxcert.evaluation.certification.settings import CertificationSettings
from voxcert.evaluation.defence.encoder import DefendedEncoder, system_id
from voxcert.evaluation.run.job import Provenance
from voxcert.evaluation.run.processes import FilledBatches
from voxcert.evaluation.run.speakers import MADE_UP
from voxcert.evaluation.verification.job import verify_speakers
from voxcert.purifiers import MedianFilter
from voxcert.smoothing.normalization import Cohort

BUNDLED = Path(__file__).parents[2] / "checkpoints" / "ecapa-mini"
SIGMA, SECONDS = 0.01, 0.4


def tone(pitch, seed, seconds=SECONDS):
    """A voiced sound: harmonics of a pitch, in a little noise."""
    time = torch.arange(round(seconds * 16000)) / 16000
    sound = sum(torch.sin(2 * torch.pi * pitch * k * time) / k for k in range(1, 20))
    return 0.05 * sound + 0.002 * torch.randn(len(time), generator=torch.Generator().manual_seed(seed))


PITCHES = {"ann": 90, "bob": 150, "cid": 240}
ENROLLMENT = {name: [tone(pitch, seed) for seed in range(2)] for name, pitch in PITCHES.items()}
# eight samples may pick another candidate, and the answer is None; 64 never do, at votes of 88 % and more
SETTINGS = {"sigma": SIGMA, "num_select": 64, "num_estimate": 200, "batch_size": 16, "crop_seconds": SECONDS}


@pytest.fixture(scope="module")
def recognizer(request):
    folder = request.getfixturevalue("checkpoint")
    return SmoothedRecognizer.from_checkpoint(folder, ENROLLMENT, **SETTINGS)


def test_names_and_verifies_who_speaks(recognizer):
    for name, pitch in PITCHES.items():
        answer = recognizer.identify(tone(pitch, 7))
        assert answer.prediction == name
        assert answer.num_forwards <= 64 + 200
        own = recognizer.verify(tone(pitch, 7), name, threshold=answer.score - 0.2)
        assert own.accepted is True
        assert recognizer.verify(tone(pitch, 7), name, threshold=0.999999).accepted is False


def test_longer_recordings_are_cut_and_shorter_ones_repeated(recognizer):
    for seconds in (0.2, 1.3):
        assert recognizer.identify(tone(90, 3, seconds)).prediction == "ann"


def muted(pitch):
    """A recording whose middle is digitally silent; there is something to hear at its ends."""
    return torch.cat([tone(pitch, 1), torch.zeros(3 * 6400), tone(pitch, 2)])


def test_silence_in_the_middle_is_nobody(recognizer):
    """Or whoever is nearest to noise alone would be named."""
    for ask in (recognizer.identify, recognizer.certify, lambda sound: recognizer.verify(sound, "ann", 0.5)):
        with pytest.raises(AudioError, match="what is heard of waveform: digitally silent"):
            ask(muted(90))
    with pytest.raises(AudioError, match=r"waveform \(0.4 s to 0.8 s\): digitally silent"):
        recognizer.enroll("dora", [muted(90)])
    assert "dora" not in recognizer.speakers


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop_seconds": "3"}, "crop_seconds must be None or a positive number, got '3'"),
        ({"crop_seconds": 0.0}, "crop_seconds must be None or a positive number, got 0.0"),
        ({"enroll_noise": -1}, "enroll_noise must be a whole number of at least 0, got -1"),
        ({"enroll_noise": 1.5}, "enroll_noise must be a whole number of at least 0, got 1.5"),
        ({"channel": -1}, "channel must be None or a whole number of at least 0, got -1"),
    ],
)
def test_settings_without_a_meaning_are_named(settings, message):
    encoder, prototypes = load_encoder(BUNDLED), torch.eye(192)[:2]
    with pytest.raises(ValueError, match=message):
        SmoothedRecognizer(encoder, prototypes, ["ann", "bob"], sigma=SIGMA, **settings)


def test_noise_is_fresh_unless_a_seed_is_given(checkpoint):
    def scores(**seed):
        recognizer = SmoothedRecognizer.from_checkpoint(checkpoint, ENROLLMENT, **SETTINGS, **seed)
        return [recognizer.identify(tone(90, 7)).score for _ in range(2)]

    first, second = scores(seed=1)
    assert first != second, "every call has noise of its own"
    assert scores(seed=1) == [first, second]
    assert scores(seed=2) != [first, second]
    assert scores() != scores()


def test_an_answer_does_not_tell_the_noise_of_the_next(checkpoint, recognizer):
    first, second = recognizer.identify(tone(90, 7)), recognizer.identify(tone(90, 7))
    assert len({first.utterance, second.utterance}) == 2
    assert min(len(first.utterance), len(second.utterance)) == 32, "128 random bits"
    known = SmoothedRecognizer.from_checkpoint(checkpoint, ENROLLMENT, **SETTINGS, seed=first.seed)
    assert known.identify(tone(90, 7)).score not in (first.score, second.score)


def test_speakers_who_are_enrolled_at_once_all_join(checkpoint):
    recognizer = SmoothedRecognizer.from_checkpoint(checkpoint, ENROLLMENT, **SETTINGS)
    names = [f"new{number}" for number in range(8)]
    threads = [threading.Thread(target=recognizer.enroll, args=(name, [tone(300, 1)])) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(recognizer.speakers) == {*PITCHES, *names}


def test_refuses_another_classifier(checkpoint):
    with pytest.raises(ValueError, match="classifier must be one of .* got 'mean'"):
        SmoothedRecognizer.from_checkpoint(checkpoint, ENROLLMENT, **SETTINGS, classifier="mean")


def test_speakers_join_and_are_enrolled_again():
    recognizer = SmoothedRecognizer.from_checkpoint(BUNDLED, ENROLLMENT, **SETTINGS, seed=0)
    hiss = 0.05 * torch.randn(6400, generator=torch.Generator().manual_seed(0))
    recognizer.enroll("dora", [hiss])
    assert recognizer.speakers == ("ann", "bob", "cid", "dora")
    assert recognizer.identify(hiss).prediction == "dora"
    recognizer.enroll("ann", [tone(900, 1)])
    assert recognizer.speakers == ("bob", "cid", "dora", "ann")
    assert recognizer.identify(tone(900, 1)).prediction == "ann"
    with pytest.raises(ValueError, match="enrollment must have a waveform or more for every speaker, got none for"):
        recognizer.enroll("eve", [])


@pytest.mark.parametrize("names", [["eve"], ["dora", "eve"]])
def test_a_prototype_of_another_width_is_named_and_nobody_joins(recognizer, names):
    good = recognizer.prototype([tone(300, 1)])
    wrong = {name: good if name == "dora" else good[:3] for name in names}
    wanted = rf"prototype of 'eve' must be of shape \({len(good)},\), got \(3,\)"
    with pytest.raises(ValueError, match=wanted):
        recognizer.add(wrong)
    assert recognizer.speakers == tuple(PITCHES)


def test_certifies(recognizer):
    certificate = recognizer.certify(tone(90, 7))
    assert certificate.prediction == "ann"
    assert 0 < certificate.radius < 3 * SIGMA


def test_threads_do_not_disturb_each_other(recognizer):
    answers = {}

    def ask(index):
        name = list(PITCHES)[index % 3]
        answers[index] = (name, recognizer.identify(tone(PITCHES[name], 7)).prediction)

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 12
    assert all(name == prediction for name, prediction in answers.values())


class Data:
    """Tones as a data module."""

    def enrollment_dataloader(self, stage):
        """Two tones of every speaker."""
        return [{"waveform": torch.stack(own), "speaker": [name] * len(own)} for name, own in ENROLLMENT.items()]

    def tested(self, stage):
        """One tone of every speaker."""
        return [Utterance(f"{name}7", f"{name}7", name) for name in PITCHES]

    def plan(self, stage):
        """What is tested."""
        return planned([], self.tested(stage))

    def items(self, stage):
        """The tones."""
        return [
            {"utterance": f"{name}7", "speaker": name, "waveform": tone(pitch, 7)} for name, pitch in PITCHES.items()
        ]


@pytest.fixture
def run(checkpoint, tmp_path):
    settings = CertificationSettings(
        str(tmp_path / "run"),
        sigma=SIGMA,
        num_select=8,
        num_estimate=200,
        batch_size=16,
        accelerator="cpu",
        rules=["vote"],
    )
    origin = {"checkpoint": str(checkpoint), "data": {"crop_seconds": SECONDS}}
    certify_speakers(load_encoder(checkpoint), Data(), settings, Provenance(checkpoint_hash(checkpoint), origin))
    return tmp_path / "run"


def test_from_run_is_what_was_certified(run):
    recognizer = SmoothedRecognizer.from_run(run, seed=3)
    prototypes, speakers = read_prototypes(run)
    assert list(recognizer.speakers) == speakers
    torch.testing.assert_close(recognizer._certifier.prototypes, prototypes.double())
    for row in read_run(run):
        answer = recognizer.identify(tone(PITCHES[row.speaker], 7))
        assert answer.prediction in (row.prediction, None)
        assert answer.sigma == row.sigma


def test_from_run_builds_the_purifier_that_a_run_named_by_its_class(run, checkpoint):
    config, purifier = yaml.safe_load((run / "config.yaml").read_text()), MedianFilter(3)
    config |= {"purifier": purifier.config, "checkpoint_hash": system_id(checkpoint_hash(checkpoint), purifier)}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (system,) = [one for one in SmoothedRecognizer.from_run(run)._encoder.modules() if isinstance(one, DefendedEncoder)]
    waveform = tone(100, 0)[None]
    assert torch.equal(system(waveform), load_encoder(checkpoint)(purifier(waveform)))


def test_from_run_refuses_what_was_not_certified(run, tmp_path):
    config = yaml.safe_load((run / "config.yaml").read_text())
    with pytest.raises(ValueError, match="folder must be the folder of a certification run"):
        SmoothedRecognizer.from_run(tmp_path)
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"checkpoint_hash": "0123456789abcdef"}))
    with pytest.raises(ValueError, match="checkpoint must be 0123456789abcdef, which .* is about, got"):
        SmoothedRecognizer.from_run(run)
    (run / "config.yaml").write_text(yaml.safe_dump({"sigma": SIGMA, "scenario": "csi"}))  # of an attack
    with pytest.raises(ValueError, match="folder must be the folder of a certification run"):
        SmoothedRecognizer.from_run(run)
    (run / "config.yaml").write_text(yaml.safe_dump({k: v for k, v in config.items() if k != "alpha"}))
    with pytest.raises(ValueError, match="folder must be the folder of a certification run"):
        SmoothedRecognizer.from_run(run)
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"noise_at": "features"}))
    with pytest.raises(ValueError, match="folder must be of a run with noise at the waveform"):
        SmoothedRecognizer.from_run(run)
    (run / "config.yaml").write_text(yaml.safe_dump({k: v for k, v in config.items() if k != "checkpoint"}))
    with pytest.raises(ValueError, match="checkpoint must be given"):
        SmoothedRecognizer.from_run(run)
    (run / "config.yaml").write_text(yaml.safe_dump({k: v for k, v in config.items() if k != "data"}))
    with pytest.raises(ValueError, match="folder must be of a run that noted its data.crop_seconds, got"):
        SmoothedRecognizer.from_run(run)


def test_speakers_join_a_run_as_it_enrolled_its_own(run):
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["enroll_noise"] == 2, "neither of those below"
    for draws in (0, 3):
        (run / "config.yaml").write_text(yaml.safe_dump(config | {"enroll_noise": draws}))
        recognizer = SmoothedRecognizer.from_run(run)
        recognizer.enroll("dora", [tone(300, 1)])
        noise = {"sigma": SIGMA, "num_noise": draws} if draws else {}
        batch = {"waveform": tone(300, 1)[None], "speaker": ["dora"]}
        expected, _ = prototypes_of(FilledBatches(load_encoder(config["checkpoint"])), [batch], **noise)
        torch.testing.assert_close(recognizer._certifier.prototypes[-1:], expected.double())


def test_who_joins_is_heard_in_pieces_as_a_run_hears_what_enrols(checkpoint, tmp_path):
    """The data module cuts an enrolling recording into all its pieces; a shorter rest is left out."""
    for name, pitch in PITCHES.items():
        (tmp_path / name).mkdir()
        for take in range(2):
            soundfile.write(tmp_path / name / f"{take}.wav", tone(pitch, take, 1.5).numpy(), 16000)
    corpus = SpeakerFolders(str(tmp_path))
    data = SpeakerDataModule(corpus, num_test_speakers=3, num_enroll=1, crop_seconds=SECONDS, enroll_unit="utterance")
    encoder = FilledBatches(load_encoder(checkpoint)).eval()
    expected, speakers = prototypes_of(encoder, data.enrollment_dataloader("test"))
    recordings = {one.speaker: [one.load()] for one in data.split.test.enroll}
    assert {len(sounds[0]) for sounds in recordings.values()} == {24000}, "three pieces and a rest"
    recognizer = SmoothedRecognizer.from_checkpoint(checkpoint, ENROLLMENT, **SETTINGS, enroll_noise=0)
    for name, prototype in zip(speakers, expected, strict=True):
        torch.testing.assert_close(recognizer.prototype(recordings[name]), prototype, atol=1e-5, rtol=0)


def test_a_recording_is_read_on_the_channel_of_the_run(run, tmp_path):
    """One side of a call was certified: the average of both sides is two speakers."""
    both = torch.stack([tone(90, 1), tone(240, 2)], dim=1)
    soundfile.write(tmp_path / "call.wav", both.numpy(), 16000)
    soundfile.write(tmp_path / "mono.wav", both[:, 1].numpy(), 16000)
    plan = read_plan(run / "plan.jsonl")

    def recognizer(channels, **options):
        write_plan(
            [replace(one, channel=channel) for one, channel in zip(plan, channels, strict=True)], run / "plan.jsonl"
        )
        return SmoothedRecognizer.from_run(run, **options)

    average = recognizer([None] * len(plan)).read(tmp_path / "call.wav")
    torch.testing.assert_close(average, both.mean(dim=1), atol=1e-4, rtol=0)
    second = recognizer([1] * len(plan))
    for name in ("call.wav", "mono.wav"):
        torch.testing.assert_close(second.read(tmp_path / name), both[:, 1], atol=1e-4, rtol=0)
    mixed = [0, 1] + [0] * (len(plan) - 2)
    with pytest.raises(ValueError, match=r"channel must be given: the run in .* read \[0, 1\] of its recordings"):
        recognizer(mixed)
    first = recognizer(mixed, channel=0)
    torch.testing.assert_close(first.read(tmp_path / "call.wav"), both[:, 0], atol=1e-4, rtol=0)
    with pytest.raises(AudioError, match="channel must be in .0, 1., got 2"):
        recognizer(mixed, channel=2).read(tmp_path / "call.wav")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"data": ["x"]}, "folder must be of a run that noted its data.crop_seconds"),
        ({"data": {"crop_seconds": "3"}}, "crop_seconds must be None or a positive number, got '3'"),
        ({"accelerator": "gpu"}, "accelerator in .* must be cpu or cuda, got 'gpu'"),
        ({"enroll_noise": "two"}, "enroll_noise must be a whole number of at least 0, got 'two'"),
    ],
)
def test_a_wrong_setting_of_a_run_is_named(run, changed, message):
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | changed))
    with pytest.raises(ValueError, match=message):
        SmoothedRecognizer.from_run(run)


def test_all_are_enrolled_in_the_precision_that_answers(checkpoint):
    recognizer = SmoothedRecognizer.from_checkpoint(checkpoint, ENROLLMENT, **SETTINGS, precision="bf16")
    before = recognizer._certifier.prototypes[0]
    recognizer.enroll("ann", ENROLLMENT["ann"])  # among all others her noise was that of the first batches, too
    torch.testing.assert_close(recognizer._certifier.prototypes[-1], before)


def test_speakers_who_do_not_exist_are_not_deployed(run):
    prototypes, speakers = read_prototypes(run)
    write_prototypes(run, prototypes, [*speakers[:-1], f"{MADE_UP}000000"])
    with pytest.raises(ValueError, match=r"run must enrol real speakers only to be deployed, got .* with 1 made"):
        SmoothedRecognizer.from_run(run)


def test_an_open_set_names_nobody_and_says_so(checkpoint, tmp_path):
    settings = CertificationSettings(
        str(tmp_path / "open"),
        sigma=SIGMA,
        task="open_set",
        enrolled=["ann", "bob"],
        num_select=64,
        num_estimate=200,
        batch_size=16,
        accelerator="cpu",
        radii=[0.0],
    )
    origin = {"checkpoint": str(checkpoint), "data": {"crop_seconds": SECONDS}}
    verify_speakers(load_encoder(checkpoint), Data(), settings, Provenance(checkpoint_hash(checkpoint), origin))
    recognizer = SmoothedRecognizer.from_run(tmp_path / "open")
    assert recognizer.speakers == ("ann", "bob"), "cid was a stranger there"
    rows = [row for row in read_trials_of_run(tmp_path / "open") if row.verifier == "vote"]
    own = next(row for row in rows if row.speaker == "ann")
    named = recognizer.identify(tone(PITCHES["ann"], 7), own.lower[0] - 0.005)
    assert (named.prediction, named.nobody, named.abstained) == ("ann", False, None)
    stranger = next(row for row in rows if row.speaker == "cid")
    nobody = recognizer.identify(tone(PITCHES["cid"], 7), min(stranger.upper[0] + 0.005, 0.99999))
    assert (nobody.prediction, nobody.nobody, nobody.abstained) == (None, True, None)
    with pytest.raises(ValueError, match=r"threshold must be a cosine in \(-1, 1\): strangers come to an open set"):
        recognizer.identify(tone(90, 7))


def test_a_closed_set_takes_a_threshold_too(recognizer):
    assert recognizer.identify(tone(90, 7), threshold=0.99999).nobody
    assert recognizer.identify(tone(90, 7), threshold=-0.9).prediction == "ann"


def test_a_cohort_normalises_claims_of_speakers_old_and_new(checkpoint):
    generator = torch.Generator().manual_seed(5)
    known = torch.nn.functional.normalize(torch.randn(10, load_encoder(checkpoint).dim, generator=generator), dim=1)
    cohort = Cohort(known, [f"c{number}" for number in range(10)], nearest=4)
    recognizer = SmoothedRecognizer.from_checkpoint(checkpoint, ENROLLMENT, **SETTINGS, cohort=cohort, seed=0)
    plain = SmoothedRecognizer.from_checkpoint(checkpoint, ENROLLMENT, **SETTINGS, seed=0)
    for one in (recognizer, plain):
        one.enroll("dora", [tone(300, 1)])
    for name in ("ann", "dora"):
        prototype = plain._certifier.prototypes[plain.speakers.index(name)]
        cosines = torch.sort(known.double() @ prototype).values[-4:]
        mean, deviation = float(cosines.mean()), float(cosines.std(correction=0))
        threshold = (0.3 - mean) / deviation
        normalised, raw = recognizer.verify(tone(90, 7), name, threshold), plain.verify(tone(90, 7), name, 0.3)
        assert (normalised.accepted, normalised.num_forwards) == (raw.accepted, raw.num_forwards), "on the same noise"
        assert normalised.threshold == threshold
        assert normalised.score == pytest.approx((raw.score - mean) / deviation)
    with pytest.raises(ValueError, match="claim must be an enrolled speaker, got 'eve'"):
        recognizer.verify(tone(90, 7), "eve", 0.0)


def test_a_claim_that_no_score_brings_to_the_threshold_is_rejected_as_its_certificate_says():
    """Cosines 1 and 0.6 with the cohort: (s - 0.8) / 0.2, so that scores of east are at most 1 and at least -9."""
    east, north, between = torch.eye(2)[0], torch.eye(2)[1], torch.tensor([0.6, 0.8])
    cohort = Cohort(torch.stack([east, between]), ["x", "y"])
    settings = SETTINGS | {"crop_seconds": None, "cohort": cohort}
    still = lambda wave: east.expand(len(wave), 2)  # noqa: E731
    recognizer = SmoothedRecognizer(still, torch.stack([east, north]), ["east", "north"], **settings)
    for threshold, accepted in ((1.5, False), (0.9, True), (-9.5, True)):
        answer = recognizer.verify(torch.linspace(-0.1, 0.1, 100), "east", threshold)
        assert (answer.accepted, answer.abstained, answer.threshold) == (accepted, None, threshold)
        assert (answer.num_forwards == 0) == (threshold != 0.9), "no sample can change it"
    for threshold in (float("nan"), float("inf"), "1"):
        with pytest.raises(ValueError, match="threshold must be a finite number, got"):
            recognizer.verify(torch.linspace(-0.1, 0.1, 100), "east", threshold)
    with pytest.raises(ValueError, match="waveform must be finite"):
        recognizer.verify(torch.full((100,), torch.nan), "east", 1.5)


def test_from_run_computes_as_the_run_did(run, monkeypatch):
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"precision": "tf32"}))
    recognizer = SmoothedRecognizer.from_run(run)
    found, before = [], torch.get_float32_matmul_precision()
    hook = recognizer._encoder.register_forward_hook(lambda *_: found.append(torch.get_float32_matmul_precision()))
    recognizer.identify(tone(90, 7))
    recognizer.verify(tone(90, 7), "ann", 0.1)
    recognizer.enroll("dora", [tone(300, 1)])
    hook.remove()
    assert set(found) == {"high"}
    assert torch.get_float32_matmul_precision() == before, "and the process is left as it was"

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"accelerator": "cuda"}))
    with pytest.raises(ValueError, match=r"accelerator must be cpu where no CUDA .* got auto .* computed on cuda;"):
        SmoothedRecognizer.from_run(run)
    assert SmoothedRecognizer.from_run(run, accelerator="cpu").speakers == tuple(PITCHES)
    with pytest.raises(ValueError, match="accelerator must be auto, cpu or cuda, got 'tpu'"):
        SmoothedRecognizer.from_run(run, accelerator="tpu")
