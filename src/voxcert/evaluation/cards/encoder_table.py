"""Every encoder of `configs/encoder` in one table: size, front-end, and what its authors published under which licence.

Sizes and front-ends are read off the networks themselves; the published facts are noted here with their source.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from voxcert.encoders.base import FeatureEncoder
from voxcert.encoders.checkpoint import build_encoder
from voxcert.evaluation.show.tables import render_table

WESPEAKER = "CC BY 4.0, as VoxCeleb"  # wespeaker's docs/pretrained.md: the licence of the training data
MODELSCOPE = "Apache-2.0"
MODELSCOPE_CAMPPLUS = "modelscope:iic/speech_campplus_sv_zh_en_16k-common_advanced"
CODE_ONLY = "none of their own; the code's is MIT"


@dataclass(frozen=True)
class Published:
    """What was published for an architecture.

    Attributes:
        weights: Name of the weights; "" if there are none.
        license: Licence of the weights.
        source: Where to get them.
    """

    weights: str
    license: str
    source: str


PUBLISHED = {
    "campplus": Published("CAM++, VoxCeleb2", WESPEAKER, "wespeaker's model list: VoxCeleb CAM++, CAM++_LM"),
    "campplus_cn": Published(
        "campplus_cn_en_common, campplus_cn_common; in checkpoints/ campplus-*", MODELSCOPE, MODELSCOPE_CAMPPLUS
    ),
    "deep_speaker": Published("ResCNN, triplet loss", CODE_ONLY, "github.com/philipperemy/deep-speaker (.h5)"),
    "ecapa": Published("spkrec-ecapa-voxceleb", "Apache-2.0", "hf:speechbrain/spkrec-ecapa-voxceleb"),
    "ecapa_c512": Published("ECAPA512_LM, VoxCeleb2", WESPEAKER, "wespeaker's model list: VoxCeleb ECAPA512_LM"),
    "ecapa_c1024": Published("ECAPA1024_LM, VoxCeleb2", WESPEAKER, "hf:Wespeaker/wespeaker-voxceleb-ecapa-tdnn1024-LM"),
    "ecapa_mini": Published("ecapa-mini and the other ecapa-mini-*", "Apache-2.0", "checkpoints/ of this repository"),
    "eres2net_base": Published("none; wespeaker's VoxCeleb recipe ERes2Net34_Base", "", ""),
    "eres2net_cn": Published("ERes2Net34_aug, 200,000 Mandarin speakers", MODELSCOPE, "wespeaker's hub name eres2net"),
    "eres2net_large": Published("none; wespeaker's VoxCeleb recipe ERes2Net34_Large", "", ""),
    "fast_resnet34_asp": Published("baseline_v2_ap.model", CODE_ONLY, "github.com/clovaai/voxceleb_trainer"),
    "fast_resnet34_sap": Published("baseline_lite_ap.model", CODE_ONLY, "github.com/clovaai/voxceleb_trainer"),
    "ge2e": Published("pretrained.pt of Resemblyzer", "Apache-2.0", "in the Python package resemblyzer"),
    "pyannote": Published("pyannote/embedding", "MIT (gated)", "hf:pyannote/embedding"),
    "quiet_frames": Published("no weights: a control, which hears no voice", "", ""),
    "resnet34": Published("ResNet34_LM, VoxCeleb2", WESPEAKER, "hf:Wespeaker/wespeaker-voxceleb-resnet34-LM"),
    "resnet221": Published("ResNet221_LM, VoxCeleb2", WESPEAKER, "hf:Wespeaker/wespeaker-voxceleb-resnet221-LM"),
    "resnet293": Published("ResNet293_LM, VoxCeleb2", WESPEAKER, "hf:Wespeaker/wespeaker-voxceleb-resnet293-LM"),
    "sincnet": Published("SincNet, TIMIT", CODE_ONLY, "github.com/mravanelli/SincNet (.pkl)"),
    "sincnet_mini": Published("sincnet-mini", "Apache-2.0", "checkpoints/ of this repository"),
    "wavlm": Published("wavlm-base-plus-sv", "CC BY-SA 3.0, as UniSpeech", "hf:microsoft/wavlm-base-plus-sv"),
}


@dataclass(frozen=True)
class Entry:
    """One line of the table.

    Attributes:
        config: Name of the file in configs/encoder.
        encoder: Class.
        parameters: Number of parameters.
        dim: Size of the embedding.
        frontend: What the network hears.
        noise_at: Where smoothing noise can enter.
        weights: Published weights.
        license: Their licence.
        source: Where to get them.
    """

    config: str
    encoder: str
    parameters: int
    dim: int
    frontend: str
    noise_at: str
    weights: str
    license: str
    source: str


def read_catalogue(folder: str | Path) -> Iterator[Entry]:
    """Builds every encoder of a folder of configs, one after the other, and describes it.

    Args:
        folder: Folder with a YAML file per encoder.

    Raises:
        ValueError: If there is no such file.
    """
    paths = sorted(Path(folder).glob("*.yaml"))
    if not paths:
        raise ValueError(f"folder must hold encoder configs (*.yaml), got {folder}")
    for path in paths:
        encoder = build_encoder(yaml.safe_load(path.read_text()))
        has_frontend = isinstance(encoder, FeatureEncoder)
        yield Entry(
            config=path.stem,
            encoder=type(encoder).__name__,
            parameters=sum(parameter.numel() for parameter in encoder.parameters()),
            dim=encoder.dim,
            frontend=encoder.frontend.description if has_frontend else "the waveform itself",
            noise_at="waveform, magnitude, features" if has_frontend else "waveform",
            **asdict(PUBLISHED.get(path.stem, Published("none", "", ""))),
        )


def markdown(entries: list[Entry]) -> str:
    """Two tables in Markdown: the networks, and what was published for them."""
    networks = [["config", "class", "parameters", "embedding", "front-end", "noise at"]]
    networks += [
        [f"`{e.config}`", f"`{e.encoder}`", f"{e.parameters / 1e6:.2f} M", str(e.dim), e.frontend, e.noise_at]
        for e in entries
    ]
    weights = [["config", "published weights", "their licence", "where"]]
    weights += [[f"`{e.config}`", e.weights, e.license, e.source] for e in entries]
    return "\n\n".join(map(render_table, (networks, weights)))
