"""Entry points: `train.py`, `certify.py` and the `voxcert` command.

`train` is a LightningCLI (fit, validate, test); every other command is a function whose signature makes its options.
"""

import argparse
import inspect
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from tqdm import tqdm

from voxcert.attacks import Attack
from voxcert.data.corpus import Corpus
from voxcert.data.datamodule import SpeakerDataModule
from voxcert.encoders.base import Encoder
from voxcert.encoders.checkpoint import CheckpointError, checkpoint_hash
from voxcert.encoders.loading import encoder_hash, is_checkpoint, load_encoder
from voxcert.evaluation.attack_description import attack_names
from voxcert.evaluation.attack_settings import AttackSettings
from voxcert.evaluation.attacking import attack_speakers
from voxcert.evaluation.card import add_metrics
from voxcert.evaluation.catalogue import markdown, read_catalogue
from voxcert.evaluation.certification import certify_speakers
from voxcert.evaluation.certified_comparison import COMPARISON_PLOT, plot_comparison
from voxcert.evaluation.certified_empirical import ROBUST_PLOT, describe_attacks, is_attack_run, redraw
from voxcert.evaluation.defence_report import render_defences
from voxcert.evaluation.defence_settings import Defence, DefenceSettings
from voxcert.evaluation.defended import DefendedEncoder, denoising, encoder_of, open_purifier, system_id
from voxcert.evaluation.defending import DEFENCES_PLOT, compare_defences, describe_comparison, is_comparison
from voxcert.evaluation.invert_settings import InversionSettings
from voxcert.evaluation.inverting import TABLE, invert_speakers
from voxcert.evaluation.plots import plot_certified_accuracy
from voxcert.evaluation.purifying import PurifySettings, purify_files
from voxcert.evaluation.report import TABLE_NOTE, default_radii, markdown_table, statement, summarize
from voxcert.evaluation.run_folder import PLOT, read_config, read_run
from voxcert.evaluation.settings import CertificationSettings
from voxcert.purifiers import Purifier
from voxcert.purifiers.conditioning import Aud2Vec, Transcriber
from voxcert.purifiers.text import TextEmbedder
from voxcert.smoothing.certificate import Certificate
from voxcert.training.distributed import run_folder
from voxcert.training.export import export as export_checkpoint


class LoggedConfig(SaveConfigCallback):
    """Saves the whole config in the run's folder and sends it to the logger, so that a run can be read and repeated."""

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Writes config.yaml, also over that of a run which is resumed in its folder; rank 0 only."""
        folder = run_folder(trainer)
        folder.mkdir(parents=True, exist_ok=True)
        text = self.parser.dump(self.config, skip_unset=False)
        (folder / "config.yaml").write_text(text)
        if trainer.logger is not None:
            trainer.logger.log_hyperparams({"config": text})


class TrainParser(LightningArgumentParser):
    """Lets flags reach a model whose arguments name a function, such as an attack.

    jsonargparse 4.53 hands `linked_targets`, which is about classes, on to functions too.
    """

    def add_function_arguments(self, function: Any, *args: Any, linked_targets: Any = None, **settings: Any) -> Any:
        """Adds the arguments of a function."""
        return super().add_function_arguments(function, *args, **settings)


class TrainCLI(LightningCLI):
    """LightningCLI with the model's number of classes taken from the data, and flags that win over checkpoints."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Links the data's number of training classes to the model."""
        parser.link_arguments("data.num_classes", "model.init_args.num_classes", apply_on="instantiate")

    def _parse_ckpt_path(self) -> None:
        """Leaves the config as the user gave it.

        Lightning would lay the hyper-parameters stored in `--ckpt_path` over the flags; here a checkpoint restores
        state (weights, optimizer, step) and what the user typed stays.
        """


def train(args: Any = None, run: bool = True) -> TrainCLI:
    """Runs `train.py`: `fit`, `validate` or `test` with configs and flags.

    Args:
        args: Arguments instead of those of the command line.
        run: Whether to run a sub-command, or only to build trainer, model and data from arguments without one.
    """
    # Lightning 2.6 flattens loaders the way torch 2.11 deprecates: nothing that a user could change.
    warnings.filterwarnings("ignore", message="`isinstance.treespec, LeafSpec.` is deprecated", category=FutureWarning)
    with _messages_for_errors():
        return TrainCLI(
            L.LightningModule,
            SpeakerDataModule,
            subclass_mode_model=True,
            save_config_callback=LoggedConfig,
            save_config_kwargs={"save_to_log_dir": False},
            parser_class=TrainParser,
            auto_configure_optimizers=False,  # the modules bring their own
            seed_everything_default=0,
            args=args,
            run=run,
        )


def certify(args: list[str] | None = None, program: str = "python certify.py") -> None:
    """Certifies an encoder: enrols speakers, proves a radius for every test utterance, writes rows, table and plot.

    Args:
        args: Arguments instead of those of the command line.
        program: How the command was called.
    """
    args = sys.argv[1:] if args is None else args
    parser = _certify_parser(program)
    config = parser.parse_args(args)
    plain = yaml.safe_load(parser.dump(config, skip_unset=False))
    with _messages_for_errors():
        torch.manual_seed(config.seed)  # of random weights
        parts = parser.instantiate(config)
        purifier = _purifier(config, parts)
        encoder, encoder_id = _encoder(config, parts.encoder, purifier)
        summary = certify_speakers(
            encoder if purifier is None else DefendedEncoder(purifier, encoder),
            parts.data,
            CertificationSettings(**{field.name: config[field.name] for field in fields(CertificationSettings)}),
            encoder_id=encoder_id,
            origin=_origin(plain, "checkpoint", "encoder", "purifier", "data"),
            command=f"{program} {shlex.join(args)}",
        )
        if summary is not None:  # in the first process
            _show(config.output_dir, summary["rules"], read_run(config.output_dir))


def _origin(plain: dict[str, Any], *names: str) -> dict[str, Any]:
    """The settings of these names that have a value."""
    return {name: plain[name] for name in names if plain[name] is not None}


def _purifier(config: Any, parts: Any) -> Purifier | None:
    """The purifier that `--purifier` names, matched to the smoothing noise; None where there is none."""
    return None if parts.purifier is None else denoising(open_purifier(parts.purifier), config.sigma)


def _encoder(config: Any, untrained: Encoder | None, purifier: Purifier | None = None) -> tuple[Encoder, str]:
    """The encoder that `--checkpoint` or `--encoder` names, and the hash of the system that it is part of."""
    if (config.checkpoint is None) == (untrained is None):
        given = "none" if untrained is None else "both"
        raise ValueError(f"one of checkpoint and encoder must be given, got {given}")
    if untrained is not None:
        print("the encoder has random weights: what follows says nothing about a trained one", file=sys.stderr)
        return untrained.eval(), system_id(encoder_hash(untrained), purifier)
    encoder = load_encoder(config.checkpoint)
    own = is_checkpoint(config.checkpoint)
    encoder_id = system_id(checkpoint_hash(config.checkpoint) if own else encoder_hash(encoder), purifier)
    if config.checkpoint_hash not in (None, encoder_id, encoder_of(encoder_id)):
        expected = config.checkpoint_hash
        raise CheckpointError(f"checkpoint_hash must be {expected}, got {encoder_id} in {config.checkpoint}")
    return encoder, encoder_id


def _certify_parser(program: str) -> ArgumentParser:
    parser = _encoder_parser(program, certify)
    _add_purifier(parser)
    parser.add_class_arguments(CertificationSettings, None)
    parser.add_class_arguments(SpeakerDataModule, "data", sub_configs=True)
    return parser


def attack(args: list[str], program: str = "voxcert attack") -> None:
    """Attacks an encoder: enrols speakers, runs any attack on every test utterance, writes rows, table and plot."""
    parser = _attack_parser(program)
    config = parser.parse_args(args)
    plain = yaml.safe_load(parser.dump(config, skip_unset=False))
    with _messages_for_errors():
        torch.manual_seed(config.seed)  # of random weights
        parts = parser.instantiate(config)
        purifier = _purifier(config, parts)
        encoder, encoder_id = _encoder(config, parts.encoder, purifier)
        attack_speakers(
            encoder if purifier is None else DefendedEncoder(purifier, encoder),
            parts.data,
            parts.attack,
            AttackSettings(**{field.name: config[field.name] for field in fields(AttackSettings)}),
            encoder_id=encoder_id,
            origin=_origin(plain, "checkpoint", "encoder", "purifier", "attack", "data"),
            command=f"{program} {shlex.join(args)}",
        )
        certified = [config.certified] if config.certified else []
        print(f"\n{describe_attacks([config.output_dir], certified)}\n\n{Path(config.output_dir) / ROBUST_PLOT}")


def _attack_parser(program: str) -> ArgumentParser:
    parser = _encoder_parser(program, attack)
    _add_purifier(parser)
    chosen = parser.add_argument(
        "--attack",
        type=Attack,
        required=True,
        help=f"One of voxcert.attacks ({', '.join(attack_names())}), such as voxcert.attacks.pgd, and its settings, "
        "such as --attack.epsilon 0.002; or a function of one's own, of the same call shape.",
    )
    # An attack is a function that returns a tensor, which jsonargparse takes for a choice among classes of tensors.
    chosen.extra_help = lambda: ""
    parser._option_string_actions["--attack.help"].help = argparse.SUPPRESS
    parser.add_class_arguments(AttackSettings, None)
    parser.add_class_arguments(SpeakerDataModule, "data", sub_configs=True)
    return parser


def invert(args: list[str], program: str = "voxcert invert") -> None:
    """Inverts an identification network: reconstructs each training speaker, writes rows, audio, table and plots."""
    parser = _invert_parser(program)
    config = parser.parse_args(args)
    plain = yaml.safe_load(parser.dump(config, skip_unset=False))
    with _messages_for_errors():
        torch.manual_seed(config.seed)  # of random weights
        parts = parser.instantiate(config)
        encoder, encoder_id = _encoder(config, parts.encoder)
        invert_speakers(
            encoder,
            parts.data,
            parts.speech,
            InversionSettings(**{field.name: parts[field.name] for field in fields(InversionSettings)}),
            encoder_id=encoder_id,
            origin={
                name: plain[name] for name in ("checkpoint", "encoder", "data", "speech") if plain[name] is not None
            },
            command=f"{program} {shlex.join(args)}",
        )
        print(f"\n{(Path(config.output_dir) / TABLE).read_text()}\n{config.output_dir}")


def _invert_parser(program: str) -> ArgumentParser:
    parser = _encoder_parser(program, invert)
    parser.add_class_arguments(InversionSettings, None)
    parser.add_class_arguments(SpeakerDataModule, "data", sub_configs=True)
    parser.add_subclass_arguments(
        Corpus, "speech", required=False, help="Whose speech starts are made of; who the network names is left out."
    )
    return parser


def _encoder_parser(program: str, command: Callable[..., None]) -> ArgumentParser:
    """A parser with the options that name an encoder."""
    parser = ArgumentParser(prog=program, description=_first_line(command))
    parser.add_argument("--config", action="config", help="YAML file with any of the options below; may be repeated.")
    parser.add_argument(
        "--checkpoint",
        type=str | None,
        help="Folder such as checkpoints/ecapa-mini, or published weights (docs/encoders.md).",
    )
    parser.add_subclass_arguments(
        Encoder,
        "encoder",
        required=False,
        help="Instead of a checkpoint: a file such as configs/encoder/campplus.yaml; random weights, to try it out.",
    )
    parser.add_argument(
        "--checkpoint_hash", type=str | None, help="Refuse other weights; the config.yaml of a run holds those it had."
    )
    return parser


def _add_purifier(parser: ArgumentParser, required: bool = False) -> None:
    use = "" if required else "Put before the encoder, which it is certified or attacked with; with a sigma, a "
    use += "" if required else "diffusion purifier denoises in one shot at that sigma. "
    parser.add_argument(
        "--purifier",
        type=Purifier | str if required else Purifier | str | None,
        required=required,
        help=f"{use}A folder such as checkpoints/dap-mini, a file such as configs/purifier/gaussian.yaml, or one of "
        "voxcert.purifiers with its settings, such as --purifier.std 2.",
    )


def purify(args: list[str], program: str = "voxcert purify") -> None:
    """Purifies audio files: the same names in another folder, ready to be played or recognised."""
    parser = ArgumentParser(prog=program, description=_first_line(purify))
    parser.add_argument("--config", action="config", help="YAML file with any of the options below; may be repeated.")
    parser.add_class_arguments(PurifySettings, None)
    _add_purifier(parser, required=True)
    _add_words(parser)
    config = parser.parse_args(args)
    plain = yaml.safe_load(parser.dump(config, skip_unset=False))
    with _messages_for_errors():
        _check_words(config)
        parts = parser.instantiate(config)
        rows = purify_files(
            open_purifier(parts.purifier),
            PurifySettings(**{field.name: config[field.name] for field in fields(PurifySettings)}),
            listener=_listener(parts, config.output_dir),
            origin=_origin(plain, "purifier", "text_embedder", "transcriber"),
        )
        failed = [row for row in rows if row.failed is not None]
        print(f"{len(rows) - len(failed)} files are purified in {config.output_dir}, {len(failed)} failed.")
        for row in failed:
            print(f"  {row.failed}")


def defend(args: list[str], program: str = "voxcert defend") -> None:
    """Compares purifiers as defences: error rates, genuine, attacked and adaptively attacked, and speech quality."""
    parser = _defend_parser(program)
    config = parser.parse_args(args)
    plain = yaml.safe_load(parser.dump(config, skip_unset=False))
    with _messages_for_errors():
        _check_words(config)
        torch.manual_seed(config.seed)  # of random weights
        parts = parser.instantiate(config)
        encoder, encoder_id = _encoder(config, parts.encoder)
        names = ("checkpoint", "encoder", "defences", "attacks", "text_embedder", "transcriber", "data")
        summary = compare_defences(
            encoder,
            parts.data,
            parts.defences,
            parts.attacks,
            DefenceSettings(**{field.name: config[field.name] for field in fields(DefenceSettings)}),
            text_embedder=parts.text_embedder,
            listener=_listener(parts, config.output_dir),
            encoder_id=encoder_id,
            origin=_origin(plain, *names),
            command=f"{program} {shlex.join(args)}",
        )
        print(f"\n{render_defences(summary['defences'])}\n\n{Path(config.output_dir) / DEFENCES_PLOT}")


def _defend_parser(program: str) -> ArgumentParser:
    parser = _encoder_parser(program, defend)
    parser.add_argument(
        "--defences",
        type=list[Defence],
        required=True,
        help="What to compare with each other and with no defence: name, purifier (folder, file, or class with "
        "settings) and, for one that reads, text (none, transcript, wrong or heard).",
    )
    parser.add_argument(
        "--attacks", type=dict[str, Attack], required=True, help="Name -> one of voxcert.attacks with its budget."
    )
    _add_words(parser)
    parser.add_class_arguments(DefenceSettings, None)
    parser.add_class_arguments(SpeakerDataModule, "data", sub_configs=True)
    return parser


def _add_words(parser: ArgumentParser) -> None:
    embedder, transcriber = "Text to embedding, for purifiers that read", "Speech to text, for purifiers that listen"
    parser.add_subclass_arguments(TextEmbedder, "text_embedder", required=False, help=f"{embedder}.")
    parser.add_subclass_arguments(Transcriber, "transcriber", required=False, help=f"{transcriber}.")


def _check_words(config: Any) -> None:
    """Refuses a transcriber without an embedder, before either is loaded."""
    if config.transcriber is not None and config.text_embedder is None:
        raise ValueError("text_embedder must be given beside a transcriber, got null")


def _listener(parts: Any, folder: str) -> Aud2Vec | None:
    if parts.transcriber is None:
        return None
    return Aud2Vec(parts.transcriber, parts.text_embedder, Path(folder) / "heard")


def export(args: list[str], program: str = "voxcert export") -> None:
    """Turns a Lightning checkpoint into a checkpoint folder with safetensors, config, card and model card."""
    parser = ArgumentParser(prog=program, description=_first_line(export))
    parser.add_function_arguments(export_checkpoint, as_positional=True)
    config = parser.parse_args(args)
    with _messages_for_errors():
        folder = export_checkpoint(**config.as_dict())
        print(f"{folder} is written.")


def card(args: list[str], program: str = "voxcert card") -> None:
    """Adds what certification runs measured to a checkpoint's card and renders its README.md again."""
    parser = ArgumentParser(prog=program, description=_first_line(card))
    parser.add_argument("folder", type=str, help="Checkpoint folder.")
    parser.add_argument("runs", type=str, nargs="*", help="Output folders of `certify`.")
    config = parser.parse_args(args)
    with _messages_for_errors():
        add_metrics(config.folder, config.runs)
        print(f"{config.folder}/README.md is written.")


def report(args: list[str], program: str = "voxcert report") -> None:
    """Shows the tables of runs and draws their plots again, from their rows alone; certificates beside attacks."""
    parser = ArgumentParser(prog=program, description=_first_line(report))
    parser.add_argument(
        "runs", type=str, nargs="+", help="Output folders of `certify`, `voxcert attack` and `voxcert defend`."
    )
    parser.add_argument("--radii", type=list[float] | None, help="Radii of the table; those of the run when null.")
    config = parser.parse_args(args)
    with _messages_for_errors():
        compared = [run for run in config.runs if is_comparison(run)]
        attacked = [run for run in config.runs if is_attack_run(run)]
        certified = [run for run in config.runs if run not in attacked + compared]
        for run in compared:
            print(f"\n{run}\n\n{describe_comparison(run)}")
        for run in certified:
            rows = read_run(run)
            plot_certified_accuracy(rows, Path(run) / PLOT)
            radii = config.radii or (read_config(run) or {}).get("radii") or default_radii(rows[0].sigma)
            _show(run, summarize(rows, radii), rows)
        if len(certified) > 1:
            plot_comparison(certified, path := Path(certified[0]) / COMPARISON_PLOT)
            print(f"\n{path}")
        if attacked:
            print(f"\n{describe_attacks(attacked, certified)}\n\n{redraw(attacked, certified)}")


def encoders(args: list[str], program: str = "voxcert encoders") -> None:
    """Lists every encoder: parameters, embedding size, front-end, published weights with their licence and source."""
    parser = ArgumentParser(prog=program, description=_first_line(encoders))
    parser.add_argument("--folder", type=str, default="configs/encoder", help="Folder of encoder configs.")
    config = parser.parse_args(args)
    with _messages_for_errors():
        entries = tqdm(read_catalogue(config.folder), desc="building", unit="encoder", leave=False)
        print(markdown(list(entries)))


COMMANDS = {
    "train": train,
    "certify": lambda args: certify(args, "voxcert certify"),
    "attack": attack,
    "purify": purify,
    "defend": defend,
    "invert": invert,
    "encoders": encoders,
    "export": export,
    "card": card,
    "report": report,
}


def main(args: list[str] | None = None) -> None:
    """Runs the `voxcert` command.

    Args:
        args: Arguments instead of those of the command line.
    """
    args = sys.argv[1:] if args is None else args
    purposes = [f"  {name:9}{_first_line(globals()[name])}" for name in COMMANDS]
    parser = argparse.ArgumentParser(
        prog="voxcert",
        usage="voxcert COMMAND ... (voxcert COMMAND --help for its options)",
        description="Speaker recognition with proved robustness.\n\n" + "\n".join(purposes),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of the above")
    command = parser.parse_args(args[:1]).command
    # LightningCLI suspects a mistake where it is handed arguments while sys.argv has some too.
    warnings.filterwarnings("ignore", message="LightningCLI's args parameter is intended to run")
    COMMANDS[command](args[1:])


def _show(folder: str, rules: dict[str, Any], rows: list[Certificate]) -> None:
    print(f"\n{folder}\n\n{markdown_table(rules)}\n\n{TABLE_NOTE}\n\n{statement(rows)}\n\n{Path(folder) / PLOT}")


@contextmanager
def _messages_for_errors() -> Iterator[None]:
    """Shows what a ValueError of this package says (a setting, a file) without a traceback, exit status 2."""
    try:
        yield
    except ValueError as error:
        own = next((one for one in (error, error.__cause__) if _is_own(one)), None)  # the parser wraps what classes say
        if own is None:
            raise  # a bug, here or in a library: the traceback is what helps
        print(f"error: {own}", file=sys.stderr)
        raise SystemExit(2) from None


def _is_own(error: BaseException | None) -> bool:
    """Whether this is a ValueError that was raised in this package."""
    if not isinstance(error, ValueError) or error.__traceback__ is None:
        return False
    origin = traceback.extract_tb(error.__traceback__)[-1].filename
    return Path(origin).is_relative_to(Path(__file__).parent)


def _first_line(function: Any) -> str:
    return inspect.getdoc(function).splitlines()[0]
