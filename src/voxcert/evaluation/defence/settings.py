"""What a comparison of defences is about: the defences, the settings, and the checks before anything slow happens."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from voxcert.attacks import Attack
from voxcert.evaluation.attack.description import attack_path, check_values
from voxcert.purifiers.base import Purifier

GENUINE = "genuine"
"""The condition without an attack."""
UNDEFENDED = "none"
"""The name of the encoder without a defence, in rows and tables."""
UNORDERED = {"voxcert.attacks.score_based.nes"}
"""Attacks that ask about some of a batch's utterances, several times over."""
CONTENT = {
    "voxcert.attacks.carlini_wagner.carlini_wagner",
    "voxcert.attacks.decision_based.hop_skip_jump",
    "voxcert.attacks.imperceptible.imperceptible",
}
"""Attacks that spend no budget, but stop once they are past a threshold; there is none to be past."""

Text = Literal["none", "transcript", "wrong", "heard"]


@dataclass(frozen=True)
class Defence:
    """A purifier in a comparison.

    Args:
        name: Of its rows.
        purifier: A folder such as checkpoints/dap-mini, a YAML file, or a class of voxcert.purifiers with its settings.
        text: What a purifier that reads text is told: nothing, the corpus's `transcript`, the `wrong` transcript (of
            another utterance), or what the transcriber has `heard` in the very waveform that is purified.

    Raises:
        ValueError: If the name cannot be that of a file or is `none`, or the text is unknown.
    """

    name: str
    purifier: Purifier | str
    text: Text = "none"

    def __post_init__(self) -> None:
        if self.name in ("", UNDEFENDED) or "/" in self.name or self.name.startswith("."):
            raise ValueError(f"name must be one that a file can have, and not {UNDEFENDED}, got {self.name!r}")
        if self.text not in get_args(Text):
            raise ValueError(f"text must be one of {', '.join(get_args(Text))}, got {self.text!r}")


@dataclass(frozen=True)
class DefenceSettings:
    """How defences are compared, and where the results go.

    Args:
        output_dir: Folder for rows.jsonl, summary.json, tables.md, defences.png, quality.png, config.yaml, and the
            adversarial waveforms of the undefended encoder in `audio`. A run that was killed continues here.
        genuine_snr_db: White noise that genuine utterances get, to be as noisy as the attacked ones (39 dB in the TDAP
            paper); null leaves them clean.
        adaptive: Attack every defended system itself too, as one who knows the defence would: by full gradients where
            there are some, straight through (BPDA) where there are none, in expectation where it is random.
        num_draws: Draws of a random defence for each gradient.
        purify_enrollment: Enrol through the purifier, so that speakers are where purified speech is.
        trials_per_batch: Trials that are attacked and purified together and share a random generator.
        seed: Of trials, noise and attacks.
        attack_hash: Refuse attacks that hold other sounds or generators; the config.yaml of a run holds those it had.
        words_hash: Refuse other weights of what hears and embeds words; the config.yaml of a run holds those it had.
        accelerator: Where to compute; auto takes CUDA where it is at hand.

    Raises:
        ValueError: If a setting is out of range; says which, what is allowed and what was given.
    """

    output_dir: str
    genuine_snr_db: float | None = 39.0
    adaptive: bool = True
    num_draws: int = 4
    purify_enrollment: bool = True
    trials_per_batch: int = 10
    seed: int = 0
    attack_hash: str | None = None
    words_hash: str | None = None
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        for name in ("num_draws", "trials_per_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.genuine_snr_db is not None and not math.isfinite(self.genuine_snr_db):
            raise ValueError(f"genuine_snr_db must be finite or null, got {self.genuine_snr_db}")


def check_comparison(defences: Sequence[Defence], attacks: dict[str, Attack], can_read: bool, can_hear: bool) -> None:
    """Refuses a comparison that cannot be made.

    Args:
        defences: What is compared.
        attacks: Name -> attack.
        can_read: Whether there is a text embedder.
        can_hear: Whether there is a transcriber.

    Raises:
        ValueError: If names repeat or are those of conditions, an attack spends no budget, lacks a setting, has one
            that is not finite or asks for utterances in an order of its own, to which text cannot be matched, or a
            defence is told text that nothing embeds or hears.
    """
    names = [defence.name for defence in defences]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"defences must be one or more with names of their own, got {names}")
    if not attacks or GENUINE in attacks or any("/" in name or not name for name in attacks):
        raise ValueError(f"attacks must be one or more with names other than {GENUINE}, got {list(attacks)}")
    for name, attack in attacks.items():
        check_values(attack, f"attacks.{name}")
        if attack_path(attack) in CONTENT:
            raise ValueError(f"attacks must spend a budget, such as pgd, got {attack_path(attack)} as {name}")
    for defence in defences:
        if defence.text != "none" and not can_read:
            raise ValueError(f"text_embedder must be given for the text of {defence.name}, got null")
        if defence.text == "heard" and not can_hear:
            raise ValueError(f"transcriber must be given for what {defence.name} hears, got null")
        for name, attack in attacks.items():
            if defence.text != "none" and attack_path(attack) in UNORDERED:
                raise ValueError(f"text of {defence.name} must be none under the attack {name}, got {defence.text}")


def check_texts(defences: Sequence[Defence], texts: Sequence[str]) -> None:
    """Refuses to tell defences text that the corpus does not have: they would be told nothing.

    Args:
        defences: What is compared.
        texts: Transcripts of all utterances that can be read, "" where there is none.

    Raises:
        ValueError: If a defence is told transcripts and one is missing, or wrong ones and all are the same.
    """
    known = [text for text in texts if text]
    lacks = {"transcript": len(known) < len(texts), "wrong": len(set(known)) < 2}
    for defence in defences:
        if lacks.get(defence.text):
            raise ValueError(
                f"text of {defence.name} must be none or heard where the corpus lacks transcripts, got {defence.text} "
                f"with transcripts of {len(known)} of {len(texts)} utterances, {len(set(known))} of them different"
            )
