"""Entry points: `train.py`, `certify.py` and the `voxcert` command.

`train` is a LightningCLI (fit, validate, test); every other command is a function whose signature makes its options.
"""

from typing import Any

import lightning as L
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from voxcert.data.datamodule import SpeakerDataModule


class LoggedConfig(SaveConfigCallback):
    """Saves the whole config beside the logs and sends it to the logger, so that a run can be read and repeated."""

    def save_config(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Sends the config to the logger; rank 0 only."""
        if trainer.logger is not None:
            trainer.logger.log_hyperparams({"config": self.parser.dump(self.config, skip_none=False)})


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


def train(args: Any = None) -> TrainCLI:
    """Runs `train.py`: `fit`, `validate` or `test` with configs and flags.

    Args:
        args: Arguments instead of those of the command line.
    """
    return TrainCLI(
        L.LightningModule,
        SpeakerDataModule,
        subclass_mode_model=True,
        save_config_callback=LoggedConfig,
        save_config_kwargs={"overwrite": True},  # a resumed run writes to its own folder again
        auto_configure_optimizers=False,  # the modules bring their own
        seed_everything_default=0,
        args=args,
    )
