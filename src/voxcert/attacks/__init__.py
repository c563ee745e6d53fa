"""Attacks on recognizers: `attack(recognizer, waveform, labels, *, targeted=False, ...) -> waveform`.

A recognizer is any callable from waveforms (batch, time) to scores (batch, speakers). What is attacked
(identification, open set, verification) is an objective; a defended system is a recognizer with the defence inside; an
adaptive attack is the same attack on a wrapped recognizer:

    pgd(recognizer, waveform, labels, epsilon=0.005)
    pgd(recognizer, waveform, targets, epsilon=0.005, targeted=True, objective=Verification(threshold=0.3))

Called with its settings alone, an attack waits for the rest: `attack = pgd(epsilon=0.005, steps=10)`, then
`attack(recognizer, waveform, labels)`. So an attack has a name in YAML, wherever a parameter has the type `Attack`:

    attack:
      class_path: voxcert.attacks.pgd
      init_args:
        epsilon: 0.005
        steps: 10
        objective: {class_path: voxcert.attacks.Verification, init_args: {threshold: 0.3}}

On the command line that is `--attack.class_path=voxcert.attacks.pgd --attack.epsilon=0.005`; flags also lay values over
a file's. An attack of one's own is a function of this shape under the decorator `attack`.
"""

from voxcert.attacks.adaptive import (
    ExpectationOverNoise,
    ExpectationOverTransformation,
    StraightThrough,
)
from voxcert.attacks.audibility import Audibility
from voxcert.attacks.budgets import (
    epsilon_at_snr,
    from_int16,
    norms,
    project,
    snr_at_epsilon,
)
from voxcert.attacks.call_shape import Attack, attack
from voxcert.attacks.carlini_wagner import carlini_wagner
from voxcert.attacks.checks import GradientWarning, check_gradients
from voxcert.attacks.counting import Counted
from voxcert.attacks.decision_based import hop_skip_jump
from voxcert.attacks.generator import SaliencyGenerator, load_generator, saliency, ssed
from voxcert.attacks.gradient import bim, fgsm, pgd
from voxcert.attacks.imperceptible import imperceptible
from voxcert.attacks.objectives import REJECTED, CrossEntropy, Margin, Objective, Verification
from voxcert.attacks.random_noise import random_noise
from voxcert.attacks.score_based import nes
from voxcert.attacks.universal import fit_universal, load_universal, save_universal, universal
from voxcert.attacks.universal_generator import PerturbationGenerator, fit_generator

__all__ = [
    "REJECTED",
    "Attack",
    "Audibility",
    "Counted",
    "CrossEntropy",
    "ExpectationOverNoise",
    "ExpectationOverTransformation",
    "GradientWarning",
    "Margin",
    "Objective",
    "PerturbationGenerator",
    "SaliencyGenerator",
    "StraightThrough",
    "Verification",
    "attack",
    "bim",
    "carlini_wagner",
    "check_gradients",
    "epsilon_at_snr",
    "fgsm",
    "fit_generator",
    "fit_universal",
    "from_int16",
    "hop_skip_jump",
    "imperceptible",
    "load_generator",
    "load_universal",
    "nes",
    "norms",
    "pgd",
    "project",
    "random_noise",
    "saliency",
    "save_universal",
    "snr_at_epsilon",
    "ssed",
    "universal",
]
