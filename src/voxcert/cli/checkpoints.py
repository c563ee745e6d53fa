"""`voxcert export`, `voxcert card` and `voxcert encoders`."""

from jsonargparse import ArgumentParser
from tqdm import tqdm

from voxcert.cli.errors import messages_for_errors
from voxcert.cli.options import first_line
from voxcert.evaluation.cards.encoder_table import markdown, read_catalogue
from voxcert.evaluation.cards.model_card import add_metrics
from voxcert.training.export import export as export_checkpoint


def export(args: list[str], program: str = "voxcert export") -> None:
    """Turns a Lightning checkpoint into a checkpoint folder with safetensors, config, card and model card."""
    parser = ArgumentParser(prog=program, description=first_line(export))
    parser.add_function_arguments(export_checkpoint, as_positional=True)
    config = parser.parse_args(args)
    with messages_for_errors():
        folder = export_checkpoint(**config.as_dict())
        print(f"{folder} is written.")


def card(args: list[str], program: str = "voxcert card") -> None:
    """Adds what certification runs measured to a checkpoint's card and renders its README.md again."""
    parser = ArgumentParser(prog=program, description=first_line(card))
    parser.add_argument("folder", type=str, help="Checkpoint folder.")
    parser.add_argument("runs", type=str, nargs="*", help="Output folders of `certify`.")
    config = parser.parse_args(args)
    with messages_for_errors():
        add_metrics(config.folder, config.runs)
        print(f"{config.folder}/README.md is written.")


def encoders(args: list[str], program: str = "voxcert encoders") -> None:
    """Lists every encoder: parameters, embedding size, front-end, published weights with their licence and source."""
    parser = ArgumentParser(prog=program, description=first_line(encoders))
    parser.add_argument("--folder", type=str, default="configs/encoder", help="Folder of encoder configs.")
    config = parser.parse_args(args)
    with messages_for_errors():
        entries = tqdm(read_catalogue(config.folder), desc="building", unit="encoder", leave=False)
        print(markdown(list(entries)))
