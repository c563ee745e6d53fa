"""Text embeddings for a purifier: of DeBERTaV3 (He et al. 2023), or hashed letters where no language model is."""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from voxcert.encoders.base import Configured
from voxcert.purifiers.base import TEXT_DIM

DEBERTA = "microsoft/deberta-v3-base"


class TextEmbedder(Configured, nn.Module, ABC):
    """Texts -> embeddings (batch, 768); an empty text is a row of zeros, which purifiers take for unknown."""

    @abstractmethod
    def embed(self, texts: list[str]) -> Tensor:
        """Embeds texts that are not empty."""

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Embeds texts.

        Args:
            texts: Transcripts or descriptions; "" where nothing is known.

        Returns:
            Shape (batch, 768), float32.
        """
        known = [index for index, text in enumerate(texts) if text.strip()]
        embedded = torch.zeros(len(texts), TEXT_DIM)
        if known:
            embedded[known] = self.embed([texts[index] for index in known]).detach().float().cpu()
        return embedded


class HashedText(TextEmbedder):
    """Counts of a text's letter n-grams, hashed into 768 signed places: the same letters make the same vector.

    A stand-in that needs no weights (feature hashing, Weinberger et al. 2009). It is no language model: it says which
    letters occur and knows nothing of meaning, so what it brings says little about what DeBERTaV3 would. Rows have unit
    mean square.

    Args:
        min_letters: Shortest n-gram.
        max_letters: Longest n-gram.
    """

    def __init__(self, min_letters: int = 2, max_letters: int = 4):
        super().__init__()
        if not 1 <= min_letters <= max_letters:
            given = f"min_letters={min_letters}, max_letters={max_letters}"
            raise ValueError(f"min_letters and max_letters must satisfy 1 <= min <= max, got {given}")
        self.lengths = range(min_letters, max_letters + 1)

    def embed(self, texts: list[str]) -> Tensor:
        """Embeds texts that are not empty."""
        return F.normalize(torch.stack([self._counts(text) for text in texts]), dim=1) * TEXT_DIM**0.5

    def _counts(self, text: str) -> Tensor:
        letters = f" {' '.join(text.lower().split())} "
        spans = [(start, start + length) for length in self.lengths for start in range(len(letters) - length + 1)]
        codes = torch.tensor([zlib.crc32(letters[start:end].encode()) for start, end in spans])
        signs = 2.0 * (codes // TEXT_DIM % 2) - 1
        return torch.zeros(TEXT_DIM).index_add(0, codes % TEXT_DIM, signs)


@contextmanager
def loading(model: str) -> Iterator[None]:
    """Says which model it was that cannot be loaded: which errors transformers raises is its own affair.

    Args:
        model: Name on the Hugging Face hub, or a folder.

    Raises:
        ValueError: In place of whatever is raised while it is loaded.
    """
    try:
        yield
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(
            "model must be the name of a model on the Hugging Face hub, or a folder with its weights and all that it "
            f"reads with, got {model!r}: {reason}"
        ) from error


class DebertaText(TextEmbedder):
    """DeBERTaV3's last hidden states, averaged over tokens or of the first token.

    Args:
        model: Name on the Hugging Face hub, or a folder with the weights and the tokenizer.
        pooling: "mean" or "cls"; the paper leaves it open.
        local_files_only: Never ask the network.

    Raises:
        ValueError: If there is no such model, or its states are not 768 wide.
    """

    def __init__(self, model: str = DEBERTA, pooling: Literal["mean", "cls"] = "mean", local_files_only: bool = False):
        super().__init__()
        from transformers import AutoModel, AutoTokenizer  # takes seconds

        if pooling not in ("mean", "cls"):
            raise ValueError(f"pooling must be 'mean' or 'cls', got {pooling!r}")
        self.pooling = pooling
        with loading(model):
            self.tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=local_files_only)
            self.network = AutoModel.from_pretrained(model, local_files_only=local_files_only).eval()
        if self.network.config.hidden_size != TEXT_DIM:
            raise ValueError(f"model must have hidden states of {TEXT_DIM}, got {self.network.config.hidden_size}")

    @torch.no_grad()
    def embed(self, texts: list[str]) -> Tensor:
        """Embeds texts that are not empty."""
        tokens = self.tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=512)
        tokens = tokens.to(self.network.device)
        states = self.network(**tokens).last_hidden_state  # (batch, tokens, 768)
        if self.pooling == "cls":
            return states[:, 0]
        weight = tokens["attention_mask"][..., None].to(states)
        return (states * weight).sum(dim=1) / weight.sum(dim=1)
