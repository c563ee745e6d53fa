from types import SimpleNamespace

import torch
from lightning.pytorch.trainer.states import TrainerFn

from voxcert.training.distributed import draw_apart
from voxcert.training.resuming import draw_anew


def test_ranks_and_trainings_that_go_on_draw_from_seeds_of_their_own():
    seeds = []
    for step in (0, 1, 2):
        for rank in range(3):
            torch.manual_seed(0)
            trainer = SimpleNamespace(world_size=3, global_rank=rank, state=SimpleNamespace(fn=TrainerFn.FITTING))
            draw_anew(SimpleNamespace(_trainer=trainer), {"global_step": step})
            draw_apart(trainer)
            seeds.append(torch.initial_seed())
    assert len(set(seeds)) == len(seeds)
