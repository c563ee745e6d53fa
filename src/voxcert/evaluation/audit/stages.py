"""The stages of an audit after its plan: what each asks, which job answers, and how long that may take.

Attacks and budgets are those of Yao et al. 2022 (SSED) and Chen et al. 2024 (TDAP); inside and outside its certified
radii the smoothed system meets the attack of Salman et al. 2019.
"""

import copy
import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from voxcert.attacks import Attack, fgsm, from_int16, nes, pgd
from voxcert.data.datamodule import SpeakerDataModule
from voxcert.evaluation.attack import AttackSettings, attack_speakers
from voxcert.evaluation.attack.certified import certified_radii
from voxcert.evaluation.audit.settings import AuditSettings
from voxcert.evaluation.certification import CertificationSettings, certify_speakers
from voxcert.evaluation.certification.folder import read_prototypes, write_prototypes
from voxcert.evaluation.certification.settings import Rule
from voxcert.evaluation.hearing import measure_hearing
from voxcert.evaluation.run.job import Provenance
from voxcert.evaluation.verification import verify_speakers
from voxcert.smoothing.embedder import filled

RULES: list[Rule] = ["vote", "distribution"]
FIRST, IMPOSTORS = "fgsm", "impostors"
"""The stages that enrol the speakers for the encoder itself, and that find its equal error rate."""
INSIDE = 0.99
"""Share of a certified radius at which the smoothed system is attacked where it must not yield."""
OUTSIDE = (from_int16(6400), 5 * from_int16(6400))
"""l2 budgets beyond most radii: the published one, and five times that."""
SSED, TDAP = 0.002, from_int16(30)
"""Published l-infinity budgets."""
GRADIENT = 3
"""Forwards that take as long as one with its gradient."""
HEARING_FORWARDS = 20
"""Forwards that take about as long as a masking threshold."""
EMBEDDINGS = "embeddings"
"""What naming speakers embeds, until verification has taken it: of the audit's folder."""


@dataclass(frozen=True)
class System:
    """What is audited.

    Attributes:
        encoder: Waveform (batch, time) -> unit embedding (batch, dim), in eval mode.
        data: What enrols and is tested.
        settings: How much to do.
        provenance: Hash of the encoder, and what made it and the data.
    """

    encoder: nn.Module
    data: SpeakerDataModule
    settings: AuditSettings
    provenance: Provenance

    @property
    def folder(self) -> Path:
        """Of the audit."""
        return Path(self.settings.output_dir)

    def made(self, folder: Path, command: str) -> Provenance:
        """What made the run in a folder: a command that repeats it from its config."""
        repeat = f"voxcert {command} --config {shlex.quote(f'{folder}/config.yaml')} --output_dir runs/repeated"
        repeat += " --embeddings null" if command == "certify" else ""
        return replace(self.provenance, command=repeat)

    def about(self, num_utterances: int) -> "System":
        """The same about so many utterances, spread over the speakers."""
        data = copy.copy(self.data)
        data.max_test_utterances = num_utterances
        origin = copy.deepcopy(self.provenance.origin)
        origin.get("data", {})["max_test_utterances"] = num_utterances
        return replace(self, data=data, provenance=replace(self.provenance, origin=origin))


@dataclass(frozen=True)
class Stage:
    """One job of an audit.

    Attributes:
        name: Of its folder.
        question: What it answers.
        forwards: How many forwards of the encoder it takes for an utterance, about.
        run: Does it; says whether there was anything to do.
        is_run: Whether its folder is one that the page shows.
    """

    name: str
    question: str
    forwards: int
    run: Callable[[], bool]
    is_run: bool = True


def stages(system: System, num_estimate: int, sigmas: list[float], batch_size: int) -> list[Stage]:
    """All stages after the plan, in their order.

    Args:
        system: What is audited, about the utterances that the plan chose.
        num_estimate: Samples of each certificate.
        sigmas: Of the smoothing noise.
        batch_size: Noisy copies per forward.
    """
    found = _attacks_on_the_encoder(system, batch_size)
    for sigma in sigmas:
        found += _smoothed(system, sigma, num_estimate, batch_size)
    return found


def forwards(system: System, num_sigmas: int, num_estimate: int, batch_size: int) -> int:
    """Forwards that all stages take for one utterance, about."""
    return sum(stage.forwards for stage in stages(system, num_estimate, [1.0] * num_sigmas, batch_size))


def _attacks_on_the_encoder(system: System, batch_size: int) -> list[Stage]:
    own = system.settings
    steps, queries = own.attack_steps, own.max_queries
    away = {"targeted": False, "batch_size": batch_size}
    as_another = {"scenario": "sv", "targeted": True, "batch_size": batch_size}

    def stage(name: str, question: str, cost: int, attack: Attack, **settings: Any) -> Stage:
        return Stage(name, question, cost + 2, partial(_attack, system, name, attack, **settings))

    return [
        stage(FIRST, f"who is named rightly, and after FGSM at {SSED:g}?", GRADIENT, fgsm(epsilon=SSED), **away),
        stage(
            "pgd-linf",
            f"does PGD at {TDAP:.2g} (l-infinity) break the encoder?",
            GRADIENT * steps,
            pgd(epsilon=TDAP, steps=steps),
            keep="flac",
            **away,
        ),
        stage(
            "pgd-l2",
            f"does PGD at {OUTSIDE[0]:.3g} (l2) break the encoder?",
            GRADIENT * steps,
            pgd(epsilon=OUTSIDE[0], norm="l2", steps=steps),
            **away,
        ),
        stage(
            "black-box",
            f"does an attack that only sees scores break it at {SSED:g}?",
            queries,
            nes(epsilon=SSED, max_queries=queries),
            **away,
        ),
        stage(
            IMPOSTORS,
            "which error rate has verification, and does FGSM open it to impostors?",
            GRADIENT,
            fgsm(epsilon=SSED),
            **as_another,
        ),
    ]


def _smoothed(system: System, sigma: float, num_estimate: int, batch_size: int) -> list[Stage]:
    own = system.settings
    names = {kind: f"{kind}-{sigma:g}" for kind in ("certify", "verify", "inside", "outside")}
    certified = str(system.folder / names["certify"])
    sampling = {
        "sigma": sigma,
        "alpha": own.alpha,
        "num_select": own.num_select,
        "num_estimate": num_estimate,
        "enroll_noise": own.enroll_noise,
        "seed": own.seed,
        "batch_size": batch_size,
        "accelerator": own.accelerator,
        "embeddings": str(system.folder / EMBEDDINGS),
    }
    victim = {
        "sigma": sigma,
        "decision": "vote",
        "certified": certified,
        "targeted": False,
        "num_noise": own.num_noise,
        "num_eval": own.num_eval,
        "alpha": own.alpha,
        "batch_size": batch_size,
    }
    attack = pgd(epsilon=OUTSIDE[0], norm="l2", steps=own.smoothed_steps)
    gradients = GRADIENT * own.smoothed_steps * own.num_noise
    samples = filled(own.num_select, batch_size) + filled(num_estimate, batch_size)
    return [
        Stage(
            names["certify"],
            f"what is proved of naming speakers at sigma {sigma:g}?",
            samples,
            partial(_certify, system, names["certify"], rules=RULES, radii=[0.0, *own.budgets], **sampling),
        ),
        Stage(
            names["verify"],
            f"which error rates can no attack raise at sigma {sigma:g}?",
            batch_size,  # to compare with what is kept
            partial(_verify, system, names["verify"], certified, task="verification", **sampling),
        ),
        Stage(
            names["inside"],
            "does an attack inside the certified radii fail, as proved?",
            gradients + 2 * own.num_eval,
            partial(_inside, system, names["inside"], attack, within=INSIDE, **victim),
        ),
        Stage(
            names["outside"],
            "what does an attack reach outside?",
            len(OUTSIDE) * gradients + (len(OUTSIDE) + 1) * own.num_eval,
            partial(_attack, system, names["outside"], attack, radii=list(OUTSIDE), **victim),
        ),
        Stage(
            f"hearing-{sigma:g}",
            "how far below the threshold of hearing is everything covered?",
            HEARING_FORWARDS,
            partial(_hear, system, certified),
            is_run=False,
        ),
    ]


def _attack(system: System, name: str, attack: Attack, **settings: Any) -> bool:
    folder = system.folder / name
    if "certified" not in settings:
        _enrolled_as(system.folder / FIRST, folder)
    own = {"output_dir": str(folder), "seed": system.settings.seed, "accelerator": system.settings.accelerator}
    made = system.made(folder, "attack")
    attack_speakers(system.encoder, system.data, attack, AttackSettings(**own, **settings), made)
    return True


def _inside(system: System, name: str, attack: Attack, *, certified: str, **settings: Any) -> bool:
    if not certified_radii(certified, "vote"):
        return False
    return _attack(system, name, attack, certified=certified, **settings)


def _certify(system: System, name: str, **settings: Any) -> bool:
    folder = system.folder / name
    own = CertificationSettings(output_dir=str(folder), **settings)
    certify_speakers(system.encoder, system.data, own, system.made(folder, "certify"))
    return True


def _verify(system: System, name: str, certified: str, **settings: Any) -> bool:
    folder = system.folder / name
    _enrolled_as(Path(certified), folder)
    own = CertificationSettings(output_dir=str(folder), **settings)
    verify_speakers(system.encoder, system.data, own, system.made(folder, "certify"))
    shutil.rmtree(system.folder / EMBEDDINGS, ignore_errors=True)
    return True


def _enrolled_as(before: Path, folder: Path) -> None:
    """Gives a stage the speakers as an earlier one enrolled them, which takes no time."""
    found = read_prototypes(before)
    if found is not None and before != folder:
        write_prototypes(folder, *found)


def _hear(system: System, certified: str) -> bool:
    measure_hearing(certified, system.data)
    return True
