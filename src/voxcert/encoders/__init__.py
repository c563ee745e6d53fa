"""Networks from waveforms to unit embeddings, and what is built directly on them.

Every encoder is `voxcert.encoders.NAME`, which is also how configs and checkpoints name it; it is imported on first
use, since some of them need large libraries.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "base": ["Encoder", "FeatureEncoder", "Recognizer", "enroll"],
        "campplus": ["CAMPPlus"],
        "checkpoint": ["CheckpointError", "checkpoint_hash", "load_checkpoint", "save_checkpoint"],
        "deep_speaker": ["DeepSpeaker"],
        "ecapa": ["ECAPA"],
        "ecapa_glob": ["ECAPAGlob"],
        "eres2net": ["ERes2Net"],
        "fast_resnet": ["FastResNet34"],
        "frontends": ["Frontend", "KaldiFbank", "LogMel"],
        "loading": ["encoder_hash", "load_encoder", "load_weights"],
        "pyannote": ["PyannoteXVector"],
        "representation": ["SplitEncoder"],
        "resnet": ["ResNet"],
        "sincnet": ["SincNet"],
        "wavlm": ["WavLM"],
    },
)
