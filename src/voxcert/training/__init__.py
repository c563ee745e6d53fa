"""LightningModules, callbacks and export, each imported on first use."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "adversarial_module": ["AdversarialEncoderModule"],
        "callbacks": ["CertificationCallback"],
        "encoder_module": ["EncoderModule"],
        "export": ["export"],
        "generator_module": ["GeneratorModule"],
        "identification_module": ["IdentificationModule"],
        "losses": ["AngularMarginSoftmax", "Consistency", "Regularizer", "Stability"],
        "noise": ["Fixed", "LogUniform", "NoiseDistribution", "Uniform"],
        "purifier_module": ["PurifierModule"],
        "speaker_mapping": ["SpeakerMapping"],
    },
)
