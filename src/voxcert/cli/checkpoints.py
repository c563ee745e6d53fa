"""`voxcert export`, `voxcert card` and `voxcert encoders`.

The work is imported once the arguments are parsed: `--help` and mistakes answer without torch.
"""

from typing import Literal

from jsonargparse import ArgumentParser
from tqdm import tqdm

from voxcert.cli.configs import config_folder
from voxcert.cli.errors import messages_for_errors
from voxcert.cli.parser import command_parser


def export(args: list[str]) -> None:
    """Turns a Lightning checkpoint into a checkpoint folder: safetensors, config, cards; or an encoder into ONNX."""
    config = export_parser().parse_args(args)
    with messages_for_errors():
        from voxcert.training.export import export as export_checkpoint

        written = export_checkpoint(**config.as_dict())
        print(f"{written} is written.")


def export_parser() -> ArgumentParser:
    """The options of `voxcert export`: the parameters of `voxcert.training.export.export`."""
    parser = command_parser("export")
    parser.add_argument(
        "source",
        type=str,
        help="Lightning checkpoint (.ckpt) of `train`, or published weights; for ONNX a checkpoint folder too.",
    )
    parser.add_argument(
        "target", type=str, help="The checkpoint folder to write, such as checkpoints/NAME; or a file NAME.onnx."
    )
    parser.add_argument(
        "--format",
        type=Literal["checkpoint", "onnx"],
        default="checkpoint",
        help="checkpoint, or onnx: an encoder that hears waveforms, checked against torch to 1e-4.",
    )
    parser.add_argument(
        "--half",
        type=bool,
        default=False,
        help="Store a checkpoint's weights in float16: half the size, loaded as float32. Certify what is written.",
    )
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="Length of the recordings that an ONNX file hears; one for all."
    )
    parser.add_argument(
        "--config",
        type=str | None,
        help="The config.yaml of the training run; looked for beside the checkpoint and one folder up when null.",
    )
    parser.add_argument("--command", type=str | None, help="The command that trained it, for the card.")
    parser.add_argument(
        "--license", type=str, default="apache-2.0", help="Licence of the weights, as the hub spells it."
    )
    parser.add_argument(
        "--attribution",
        type=str | None,
        help="Credit that the training data asks for; known for LibriSpeech and VoxCeleb.",
    )
    parser.add_argument("--overwrite", type=bool, default=False, help="Replace what is there.")
    return parser


def card(args: list[str]) -> None:
    """Adds what certification runs measured to a checkpoint's card and renders its README.md again."""
    parser = command_parser("card")
    parser.add_argument("folder", type=str, help="Checkpoint folder.")
    parser.add_argument("runs", type=str, nargs="*", help="Output folders of `certify`.")
    parser.add_argument(
        "--remark",
        type=str | None,
        help="What readers should know about the numbers, such as that a recipe was chosen on these recordings; kept "
        "when null.",
    )
    config = parser.parse_args(args)
    with messages_for_errors():
        from voxcert.evaluation.cards.model_card import add_metrics

        add_metrics(config.folder, config.runs, config.remark)
        print(f"{config.folder}/README.md is written.")


def encoders(args: list[str]) -> None:
    """Lists every encoder: parameters, embedding size, front-end, published weights with their licence and source."""
    parser = command_parser("encoders")
    parser.add_argument(
        "--folder", type=str | None, help="Folder of encoder configs; those that come with voxcert when null."
    )
    config = parser.parse_args(args)
    with messages_for_errors():
        from voxcert.evaluation.cards.encoder_table import markdown, read_catalogue

        folder = config.folder or config_folder() / "encoder"
        entries = tqdm(read_catalogue(folder), desc="building", unit="encoder", leave=False)
        print(markdown(list(entries)))
