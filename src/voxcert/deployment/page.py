"""A page to try the smoothed recognizer: say something, be named, see and hear what is proved. Made with Gradio.

It is for one person on their own machine: it listens on the loopback address alone, and enrols for this session only.
"""

import os
import signal
import socket
import tempfile
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when it is imported

import gradio as gr
import numpy as np
from torch import Tensor

from voxcert.data.audio import SAMPLE_RATE, AudioError
from voxcert.data.names import as_speaker
from voxcert.deployment.recognizer import SmoothedRecognizer
from voxcert.deployment.words import answered, at_radius, promised

MIN_SECONDS = 0.5
KEPT_SECONDS = 600
INTRODUCTION = """# Who is speaking?
Record or choose a few seconds of speech. The recognizer names the speaker from noisy copies of it, or says that it does
not know. **Certify** proves how much anyone may add to the recording without another being named, and lets you hear it.
"""
STYLE = ".gradio-container {max-width: 1000px !important; margin: auto}"


def create_page(recognizer: SmoothedRecognizer) -> gr.Blocks:
    """The page as a Gradio app.

    Args:
        recognizer: Who answers; who is enrolled on the page is enrolled with it.
    """
    page = _Page(recognizer)
    with gr.Blocks(title="voxcert", analytics_enabled=False, delete_cache=(60, KEPT_SECONDS)) as blocks:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            with gr.Column():
                recording = gr.Audio(
                    sources=["microphone", "upload"], type="filepath", label="Recording", buttons=["download"]
                )
                threshold = gr.Slider(
                    -0.99, 0.99, 0.5, step=0.01, label="Nobody, below this score", visible=recognizer.open_set
                )
                identify = gr.Button("Identify", variant="primary")
                certify = gr.Button("Certify")
                with gr.Group():
                    name = gr.Textbox(label="Name of a new speaker", max_lines=1)
                    enroll = gr.Button("Enrol this recording")
                known = gr.Markdown(elem_id="known")
            with gr.Column():
                answer = gr.Markdown("Nothing was asked yet.", elem_id="answer")
                heard = gr.Audio(label="Heard, with noise at the radius", buttons=["download"], visible=False)
                noise = gr.Audio(label="That noise alone", buttons=["download"], visible=False)
        blocks.load(page.known, None, known)
        identify.click(page.identify, [recording, threshold], [answer, heard, noise])
        certify.click(page.certify, recording, [answer, heard, noise])
        enroll.click(page.enroll, [recording, name], [answer, heard, noise, known])
    return blocks


def open_page(recognizer: SmoothedRecognizer, port: int) -> None:
    """Shows the page at 127.0.0.1 until Ctrl-C or SIGTERM; its recordings are then deleted.

    Raises:
        ValueError: If something else listens at the port.
    """
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise ValueError(f"port must be one that nothing listens at, got {port}: {error.strerror}") from error
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    local = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"])  # fonts of the reader's own
    with tempfile.TemporaryDirectory(prefix="voxcert-try-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # read when a page is made
        page = create_page(recognizer)
        page.launch(server_name="127.0.0.1", server_port=port, theme=local, css=STYLE, footer_links=[], share=False)


class _Page:
    """What the buttons do; every answer is text and two sounds, which only a certificate has."""

    def __init__(self, recognizer: SmoothedRecognizer):
        self.recognizer = recognizer

    def known(self) -> str:
        names = self.recognizer.speakers
        shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        return f"{len(names)} speakers are enrolled: {shown}"

    def identify(self, path: str | None, threshold: float) -> tuple[Any, ...]:
        threshold = threshold if self.recognizer.open_set else None
        try:
            return answered(self.recognizer.identify(self._waveform(path), threshold)), *_silent()
        except ValueError as error:
            return _mistake(error, path), *_silent()

    def certify(self, path: str | None) -> tuple[Any, ...]:
        try:
            waveform = self.recognizer.heard(self._waveform(path))
            certificate = self.recognizer.certify(waveform)
        except ValueError as error:
            return _mistake(error, path), *_silent()
        if not certificate.radius > 0:
            return promised(certificate, self.recognizer.open_set), *_silent()
        together, alone, louder = at_radius(waveform, certificate.radius)
        label = f"That noise alone, made {louder:.0f} dB louder"
        sounds = gr.Audio(_sound(together), visible=True), gr.Audio(_sound(alone), label=label, visible=True)
        return promised(certificate, self.recognizer.open_set), *sounds

    def enroll(self, path: str | None, name: str) -> tuple[Any, ...]:
        try:
            if not name.strip():
                raise AudioError("Name the speaker to enrol.")
            name = as_speaker(name)
            if name in self.recognizer.speakers:
                raise AudioError(f"Somebody called {name} is enrolled already: choose another name.")
            self.recognizer.enroll(name, [self._waveform(path)])
        except ValueError as error:
            return _mistake(error, path), *_silent(), self.known()
        return f"**{name}** is enrolled, until `voxcert try` is stopped.", *_silent(), self.known()

    def _waveform(self, path: str | None) -> Tensor:
        if path is None:
            raise AudioError("Record or choose a recording first.")
        return self.recognizer.read(path, MIN_SECONDS)


def _mistake(error: ValueError, path: str | None) -> str:
    return str(error).replace(path or "\0", "the recording")


def _silent() -> tuple[Any, Any]:
    return gr.Audio(None, visible=False), gr.Audio(None, visible=False)


def _sound(waveform: Tensor) -> tuple[int, np.ndarray]:
    """For the player, as 16-bit numbers: floating-point ones it would make as loud as possible."""
    return SAMPLE_RATE, (waveform.clamp(-1, 1) * 32767).round().short().numpy()
