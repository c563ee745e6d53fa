"""The encoder that Resemblyzer ships as `pretrained.pt`: a checkpoint of its training, of which the network is read."""

from pathlib import Path

from voxcert.encoders.checkpoint import CheckpointError, read_state
from voxcert.encoders.ge2e import GE2E

ENTRY = "lstm.weight_ih_l0"
LOSS = ("similarity_weight", "similarity_bias")


def load_resemblyzer(path: Path) -> GE2E:
    """Loads a weight file of Resemblyzer, in eval mode, on the CPU; sizes follow from the weights.

    Args:
        path: A state dict, bare or as `model_state` of a checkpoint, as a file of torch or as safetensors.

    Raises:
        CheckpointError: If the file is missing or not plain data, or if its weights are not those of a GE2E encoder.
    """
    state = {name: value for name, value in read_state(path).items() if name not in LOSS}
    try:
        encoder = GE2E(
            dim=state["linear.weight"].shape[0],
            hidden_size=state["linear.weight"].shape[1],
            num_layers=sum(name.startswith("lstm.weight_ih_l") for name in state),
            num_mels=state[ENTRY].shape[1],
        )
        encoder.network.load_state_dict(state)
    except (KeyError, IndexError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{path} does not hold the weights of a GE2E encoder: {error}") from error
    return encoder.eval()
