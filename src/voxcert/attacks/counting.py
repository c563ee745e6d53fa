"""What an attack costs, apart from the machine: waveforms that pass through a network, forwards and backwards.

A pass is one waveform in either direction, as adversarial-library counts attacks and as the queries of Ilyas et al.
2018: those of a black-box attack are its forwards.
"""

from collections.abc import Callable

from torch import Tensor, nn


class Counted(nn.Module):
    """A recognizer, or the encoder in one, that counts the waveforms that pass through it.

    Noisy copies count one by one where it is the encoder that is counted. A pass that is repeated to save memory (see
    `Expectation`) counts again.

    Args:
        network: Waveform (batch, time) -> anything with one row per waveform.

    Attributes:
        forwards: Waveforms that it was given so far, with gradients or without.
        backwards: Waveforms for which gradients came back so far.
    """

    def __init__(self, network: Callable[[Tensor], Tensor]):
        super().__init__()
        self.network, self.forwards, self.backwards = network, 0, 0

    def forward(self, waveform: Tensor) -> Tensor:
        """Returns what the network says of waveforms (batch, time)."""
        self.forwards += len(waveform)
        output = self.network(waveform)
        if output.requires_grad:
            output.register_hook(self._count_backward)
        return output

    def _count_backward(self, gradient: Tensor) -> None:
        self.backwards += len(gradient)
