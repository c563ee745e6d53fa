"""The number of steps that a schedule of the learning rate is made for."""

import lightning as L


def last_step(trainer: L.Trainer) -> int:
    """The number of steps that a training makes.

    Raises:
        ValueError: If nothing but a time limit ends it: a learning rate that falls needs to know the last step.
    """
    steps = trainer.estimated_stepping_batches
    if steps == float("inf"):
        raise ValueError(
            "trainer.max_epochs or trainer.max_steps must be set: the learning rate's schedule needs the last step"
        )
    return int(steps)


def check_steps(planned: int, steps: float) -> None:
    """Refuses to train on along a schedule that was planned for another number of steps.

    Args:
        planned: Steps of the schedule, as it was restored.
        steps: Of this run.

    Raises:
        ValueError: If they differ.
    """
    if planned != steps:
        raise ValueError(
            f"a resumed run must keep its {planned} steps (trainer.max_epochs, trainer.max_steps and the data), got "
            f"{steps:g}; to train longer, export the checkpoint and start from it with model.init_args.init_from"
        )
