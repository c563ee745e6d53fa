"""`train.py`: a LightningCLI with fit, validate and test."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.model_helpers import is_overridden

from voxcert.cli.configs import with_files
from voxcert.cli.errors import messages_for_errors
from voxcert.cli.parser import Renamed
from voxcert.data.datamodule import SpeakerDataModule
from voxcert.evaluation.run.processes import keep_freed_memory
from voxcert.training.distributed import run_folder
from voxcert.training.export import RUN_CONFIG
from voxcert.training.precision import check_precision
from voxcert.training.record import check_folder, set_metrics_aside
from voxcert.training.resuming import check_ckpt_path


class LoggedConfig(SaveConfigCallback):
    """Saves the whole config with the logs and in every checkpoint, so that a run can be read and repeated."""

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Writes config.yaml where logs go, also over that of a run which is resumed in its folder; rank 0 only.

        That of a validation or test is validate.yaml or test.yaml: it repeats no training.
        """
        folder = run_folder(trainer)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            name = "config" if stage == "fit" else TrainerFn(stage).value
            (folder / f"{name}.yaml").write_text(self._text())
            trainer.logger.log_hyperparams({"config": self._text()})

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keeps the config, for `voxcert export`: a checkpoint may lie anywhere, also beside another run's config."""
        checkpoint[RUN_CONFIG] = self._text()

    def _text(self) -> str:
        return self.parser.dump(self.config, skip_unset=False)


class TrainParser(Renamed, LightningArgumentParser):
    """Lets flags reach a model whose arguments name a function, such as an attack.

    jsonargparse 4.53 hands `linked_targets`, which is about classes, on to functions too.
    """

    def add_function_arguments(self, function: Any, *args: Any, linked_targets: Any = None, **settings: Any) -> Any:
        """Adds the arguments of a function."""
        return super().add_function_arguments(function, *args, **settings)


class TrainCLI(LightningCLI):
    """LightningCLI with the model's number of classes taken from the data, and flags that win over checkpoints."""

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Those of Lightning that a module here has; what a trained network says, other commands show."""
        return {name: skipped for name, skipped in LightningCLI.subcommands().items() if name != "predict"}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Links the data's number of training classes to the model."""
        parser.link_arguments("data.num_classes", "model.init_args.num_classes", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: list[str] | None) -> None:
        """Parses arguments, those of the command line when null; configs are found by name."""
        self.config = parser.parse_args(with_files(sys.argv[1:] if args is None else args))

    def instantiate_trainer(self, **settings: Any) -> L.Trainer:
        """Builds the trainer; refuses too what Lightning would stumble over in an epoch, or take for something else."""
        every, clip = (
            self._get(self.config, f"trainer.{name}") for name in ("check_val_every_n_epoch", "gradient_clip_val")
        )
        if every is not None and every < 1:
            raise ValueError(f"trainer.check_val_every_n_epoch must be at least 1, or null, got {every}")
        if clip is not None and clip < 0:
            raise ValueError(f"trainer.gradient_clip_val must be at least 0, or null, got {clip}")
        with _refused("trainer"):
            return super().instantiate_trainer(**settings)

    def _set_seed(self) -> None:
        with _refused("seed_everything"):
            super()._set_seed()

    def before_instantiate_classes(self) -> None:
        """Refuses a `--ckpt_path` that no training wrote, before data are read."""
        check_ckpt_path(self._get(self.config, "ckpt_path"))

    def before_fit(self) -> None:
        """Refuses a precision that networks here do not have, and keeps the metrics of a training that goes on.

        The learning rate is watched only where it can be logged.
        """
        check_precision(self.trainer)
        if not self.trainer.loggers:
            kept = [one for one in self.trainer.callbacks if not isinstance(one, LearningRateMonitor)]
            self.trainer.callbacks = kept
        if self._get(self.config, "ckpt_path") is not None:
            set_metrics_aside(self.trainer)

    def before_validate(self) -> None:
        """Refuses a model without validation, and the folder of a training."""
        self._require_step("validation_step", "validate")

    def before_test(self) -> None:
        """Refuses a model without a test, and the folder of a training."""
        self._require_step("test_step", "test")

    def _require_step(self, step: str, command: str) -> None:
        check_precision(self.trainer)
        check_folder(self.trainer)
        if not is_overridden(step, self.model):
            raise ValueError(
                f"model must have a {step} for `{command}`, got {type(self.model).__name__}, which has none: export "
                "its checkpoint, and certify, verify or attack what is exported"
            )

    def _parse_ckpt_path(self) -> None:
        """Leaves the config as the user gave it.

        Lightning would lay the hyper-parameters stored in `--ckpt_path` over the flags; here a checkpoint restores
        state (weights, optimizer, step) and what the user typed stays.
        """


@contextmanager
def _refused(setting: str) -> Iterator[None]:
    """What Lightning says of a setting, as an error of this package that names it."""
    try:
        yield
    except (MisconfigurationException, ImportError, ValueError) as error:
        raise ValueError(f"{setting}: {error}") from error


def train(args: list[str] | None = None, run: bool = True, program: str = "voxcert train") -> TrainCLI:
    """Runs `train.py`: `fit`, `validate` or `test` with configs and flags.

    Args:
        args: Arguments instead of those of the command line.
        run: Whether to run a sub-command, or only to build trainer, model and data from arguments without one.
        program: How the command was called.
    """
    # Lightning 2.6 flattens loaders the way torch 2.11 deprecates: nothing that a user could change.
    warnings.filterwarnings("ignore", message="`isinstance.treespec, LeafSpec.` is deprecated", category=FutureWarning)
    keep_freed_memory()
    with messages_for_errors():
        return TrainCLI(
            L.LightningModule,
            SpeakerDataModule,
            subclass_mode_model=True,
            save_config_callback=LoggedConfig,
            save_config_kwargs={"save_to_log_dir": False},
            parser_class=TrainParser,
            auto_configure_optimizers=False,  # the modules bring their own
            seed_everything_default=0,
            parser_kwargs={"prog": program},
            args=args,
            run=run,
        )
