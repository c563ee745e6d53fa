"""Any speaker encoder that was published as an ONNX file, run by onnxruntime; an optional extra: `voxcert[onnx]`.

It has no gradients: it can be certified, asked and attacked from outside, and neither trained nor attacked by descent.
"""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from voxcert.encoders.base import Encoder
from voxcert.encoders.frontends import KaldiFbank

MODEL = "model"
AMPLITUDES = {"waveform": 1.0, "int16": 32768.0}
"""What a network without a front-end hears -> factor of the waveform in [-1, 1]."""


class OnnxEncoder(Encoder):
    """An ONNX network behind the filterbank that it was trained with, or on the waveform itself.

    The file itself is this encoder's state (`model`, its bytes), so hashes and checkpoint folders hold it.
    `load_onnx` reads a file and finds out the arguments.

    Args:
        dim: Size of the embedding.
        hears: What the network gets: `features`, Kaldi's filterbank (batch, frames, num_mels); `waveform`,
            (batch, time) in [-1, 1]; or `int16`, the same times 32768. The arguments behind `output` are for
            `features`.
        output: Which of the network's outputs is the embedding (batch, dim).
        num_mels: Mel bands.
        window: Window function.
        scale: Factor of the waveform.
        mean_norm: Subtract the mean over time.

    Raises:
        ValueError: If onnxruntime is not installed; if gradients are asked for, or the encoder is in training mode; or
            if the network cannot hear so many samples.
    """

    model: Tensor

    def __init__(
        self,
        dim: int,
        hears: Literal["features", "waveform", "int16"],
        output: str,
        num_mels: int = 80,
        window: Literal["hamming", "povey"] = "hamming",
        scale: float = 32768.0,
        mean_norm: bool = True,
    ):
        super().__init__()
        if hears not in ("features", *AMPLITUDES):
            raise ValueError(f"hears must be 'features', 'waveform' or 'int16', got {hears!r}")
        self.dim, self.output, self.hears = dim, output, hears
        self.frontend = KaldiFbank(num_mels, window, scale, mean_norm=mean_norm) if hears == "features" else None
        self.register_buffer(MODEL, torch.empty(0, dtype=torch.uint8))
        self._session: Any = None

    def embed(self, waveform: Tensor) -> Tensor:
        """Embeds waveforms (batch, time) as (batch, dim), not normalised, without gradients."""
        if self.training:
            raise ValueError("an OnnxEncoder cannot be trained: call eval() on it")
        if waveform.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                "an OnnxEncoder has no gradients: attack it with what needs none (nes, hop_skip_jump), or load the "
                "weights that it was exported from"
            )
        heard = AMPLITUDES[self.hears] * waveform if self.frontend is None else self.frontend(waveform)
        heard = heard.detach().float().cpu().numpy()
        return torch.from_numpy(np.concatenate([self._run(rows) for rows in self._batches(heard)])).to(waveform.device)

    def session(self) -> Any:
        """The session of onnxruntime that runs the network, on the CPU, with as many threads as torch has."""
        if self._session is None:
            self._session = open_session(self.model.cpu().numpy().tobytes())
        return self._session

    def _batches(self, heard: np.ndarray) -> list[np.ndarray]:
        """The batch as it is, or row by row if the network was exported for one row."""
        fixed = self.session().get_inputs()[0].shape[0] == 1
        return list(heard[:, None]) if fixed else [heard]

    def _run(self, rows: np.ndarray) -> np.ndarray:
        session = self.session()
        try:
            (embedding,) = session.run([self.output], {session.get_inputs()[0].name: rows})
        except Exception as error:  # onnxruntime has a kind of its own for every case
            raise ValueError(f"the ONNX network cannot hear an input of shape {rows.shape}: {error}") from error
        return embedding

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Takes a file of any size."""
        if prefix + MODEL in state_dict:
            self.model = torch.empty_like(state_dict[prefix + MODEL], device=self.model.device)
        self._session = None
        super()._load_from_state_dict(state_dict, prefix, *args)

    def __getstate__(self) -> dict[str, Any]:
        """All but the session, which is opened anew in another process."""
        return self.__dict__ | {"_session": None}


def open_session(model: bytes) -> Any:
    """Opens an ONNX file's bytes.

    Raises:
        ValueError: If onnxruntime is not installed, or cannot run the model.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(f'this encoder needs onnxruntime: pip install "voxcert[onnx]" ({error})') from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors, which are raised as well
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a kind of its own for every case
        raise ValueError(f"this is no ONNX network that onnxruntime can run: {error}") from error
