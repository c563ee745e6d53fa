"""SSED (Yao et al. 2022): a generator that forges in one pass, as an attack, and its checkpoint folders."""

from voxcert.attacks.generator.attack import saliency, ssed
from voxcert.attacks.generator.checkpoint import load_generator
from voxcert.attacks.generator.network import SaliencyGenerator

__all__ = ["SaliencyGenerator", "load_generator", "saliency", "ssed"]
