"""Model inversion (Pizzi et al. 2023, arXiv 2301.03206): how to descend, and where from."""

from voxcert.attacks.inversion.descent import Descent, Inverted, invert, sliding_inversion
from voxcert.attacks.inversion.starts import Centred, Constant, Mixture, Noise, Speech, Start, Uniform

__all__ = [
    "Centred",
    "Constant",
    "Descent",
    "Inverted",
    "Mixture",
    "Noise",
    "Speech",
    "Start",
    "Uniform",
    "invert",
    "sliding_inversion",
]
