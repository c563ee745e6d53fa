"""Aud2Vec: from speech to text to an embedding of it, which guides a purifier by what is said.

Chen et al. (TDAP), section 2.2: a speech language model writes down the (attacked) audio, DeBERTaV3 embeds the text.
For the paper's Qwen-Audio-Chat stands its successor, which transformers has; any speech recognizer of transformers is
the light choice. A corpus's own transcripts need neither: embed them with `voxcert.purifiers.text`.
"""

import hashlib
import json
import os
from abc import ABC, abstractmethod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from voxcert.data.audio import SAMPLE_RATE
from voxcert.encoders.base import Configured
from voxcert.encoders.loading import encoder_hash
from voxcert.purifiers.text import TextEmbedder, loading

QWEN = "Qwen/Qwen2-Audio-7B-Instruct"
WHISPER = "openai/whisper-tiny.en"
PROMPT = "Write down what is said in this recording, and nothing else."  # the paper does not print its prompt


class Transcriber(Configured, nn.Module, ABC):
    """Waveforms (batch, time), 16 kHz -> one text each; no gradient."""

    @abstractmethod
    def forward(self, waveform: Tensor) -> list[str]:
        """Writes down what is heard."""


class SpeechRecognition(Transcriber):
    """Any model of transformers' pipeline "automatic-speech-recognition", such as Whisper.

    Args:
        model: Name on the Hugging Face hub, or a folder with model, tokenizer and feature extractor.
        local_files_only: Never ask the network.

    Raises:
        ValueError: If there is no such model.
    """

    def __init__(self, model: str = WHISPER, local_files_only: bool = False):
        super().__init__()
        from huggingface_hub import snapshot_download
        from transformers import pipeline  # takes seconds

        # A flag of the pipeline's own would reach Whisper's generate, which refuses it.
        offline = local_files_only and not Path(model).is_dir()
        with loading(model):
            place = snapshot_download(model, local_files_only=True) if offline else model
            self.recognizer = pipeline("automatic-speech-recognition", model=place)
        self.network = self.recognizer.model  # so that .to(device) moves it

    @torch.no_grad()
    def forward(self, waveform: Tensor) -> list[str]:
        """Writes down what is heard in waveforms (batch, time)."""
        self.recognizer.device = self.network.device
        rows = [{"raw": row, "sampling_rate": SAMPLE_RATE} for row in waveform.float().cpu().numpy()]
        # Whisper hears more than half a minute only where it may say when.
        timing = {"return_timestamps": True} if self.recognizer.type == "seq2seq_whisper" else {}
        return [heard["text"].strip() for heard in self.recognizer(rows, **timing)]


class AudioLanguageModel(Transcriber):
    """Qwen2-Audio, asked for what is said.

    Args:
        model: Name on the Hugging Face hub, or a folder with model and processor.
        prompt: The request.
        max_new_tokens: Longest answer.
        local_files_only: Never ask the network.

    Raises:
        ValueError: If there is no such model.
    """

    def __init__(
        self, model: str = QWEN, prompt: str = PROMPT, max_new_tokens: int = 128, local_files_only: bool = False
    ):
        super().__init__()
        from transformers import AutoProcessor, Qwen2AudioForConditionalGeneration  # takes seconds

        self.prompt, self.max_new_tokens = prompt, max_new_tokens
        with loading(model):
            self.processor = AutoProcessor.from_pretrained(model, local_files_only=local_files_only)
            self.network = Qwen2AudioForConditionalGeneration.from_pretrained(
                model, local_files_only=local_files_only
            ).eval()

    @torch.no_grad()
    def forward(self, waveform: Tensor) -> list[str]:
        """Asks about each of the waveforms (batch, time), one after the other."""
        return [self._answer(row) for row in waveform.float().cpu().numpy()]

    def _answer(self, row) -> str:
        content = [{"type": "audio", "audio_url": "recording"}, {"type": "text", "text": self.prompt}]
        request = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        inputs = self.processor(text=request, audio=[row], sampling_rate=SAMPLE_RATE, return_tensors="pt")
        inputs = inputs.to(self.network.device)
        tokens = self.network.generate(**inputs, max_new_tokens=self.max_new_tokens, do_sample=False)
        answer = tokens[:, inputs["input_ids"].shape[1] :]
        return self.processor.batch_decode(answer, skip_special_tokens=True)[0].strip()


def words_hash(embedder: TextEmbedder | None, transcriber: Transcriber | None) -> str | None:
    """Identifies what words come from, by arguments and weights: the first 16 hex digits of a SHA-256; None of neither.

    Args:
        embedder: Text to embedding.
        transcriber: Speech to text.
    """
    parts = [None if one is None else encoder_hash(one) for one in (embedder, transcriber)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16] if any(parts) else None


class Aud2Vec(nn.Module):
    """Waveforms (batch, time) -> text embeddings (batch, 768); no gradient reaches the waveform.

    At test time it is to hear what the purifier gets, attacked as it is. Results are kept on disk by what was heard
    (the samples) and by whom (the arguments and weights of both models), so that an utterance is asked about once.

    Args:
        transcriber: Speech to text.
        embedder: Text to embedding.
        cache_dir: Where results are kept; None keeps none.
    """

    def __init__(self, transcriber: Transcriber, embedder: TextEmbedder, cache_dir: str | Path | None = None):
        super().__init__()
        self.transcriber, self.embedder = transcriber, embedder
        self.cache_dir = None if cache_dir is None else Path(cache_dir)
        self._who = words_hash(embedder, transcriber)

    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """Embeds what is said in waveforms (batch, time), 16 kHz, on their device."""
        return torch.stack([self.hear(row)[1] for row in waveform]).to(waveform.device)

    def hear(self, waveform: Tensor) -> tuple[str, Tensor]:
        """What is said in one waveform (time,), and its embedding (768,)."""
        path = self._path(waveform)
        if path is not None and path.is_file():
            try:
                with safe_open(path, "pt") as file:
                    return file.metadata()["text"], file.get_tensor("embedding")
            except SafetensorError:  # torn by a crash: asked again
                pass
        text = self.transcriber(waveform[None])[0]
        embedding = self.embedder([text])[0]
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_suffix(f".{os.getpid()}")
            draft.write_bytes(save({"embedding": embedding.contiguous()}, metadata={"text": text}))
            draft.replace(path)
        return text, embedding

    def _path(self, waveform: Tensor) -> Path | None:
        if self.cache_dir is None:
            return None
        samples = waveform.detach().float().cpu().contiguous().numpy().tobytes()
        digest = hashlib.sha256(self._who.encode() + samples).hexdigest()
        return self.cache_dir / digest[:2] / f"{digest}.safetensors"
