import zlib

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import DebertaV2Config, DebertaV2Model, PreTrainedTokenizerFast

from voxcert.purifiers.text import DebertaText, HashedText


def test_hashed_text():
    embedder = HashedText()
    rows = embedder(["The cat sat", "  the CAT\nsat ", "a dog ran off", "", "  "])
    assert rows.shape == (5, 768)
    assert torch.equal(rows[0], rows[1])
    assert rows[:3].square().mean(dim=1).tolist() == pytest.approx([1, 1, 1])
    assert not rows[3:].any()
    near, far = torch.cosine_similarity(rows[:1], torch.cat([embedder(["the cat sits"]), rows[2:3]])).tolist()
    assert near > 0.5 > abs(far) + 0.3


def test_hashed_text_by_hand():
    """One letter has the n-grams ' a' and 'a ' of two letters."""
    row = HashedText(2, 2)(["a"])[0]
    expected = torch.zeros(768)
    for code in (zlib.crc32(b" a"), zlib.crc32(b"a ")):
        expected[code % 768] += 1 if code // 768 % 2 else -1
    torch.testing.assert_close(row, expected * (768 / 2) ** 0.5)


@pytest.mark.parametrize("lengths", [(0, 2), (3, 2)])
def test_lengths(lengths):
    with pytest.raises(ValueError, match="min_letters and max_letters must satisfy"):
        HashedText(*lengths)


def deberta(folder, hidden_size=768):
    """A DeBERTa with random weights and a vocabulary of a few words."""
    words = Tokenizer(WordLevel({"[PAD]": 0, "[UNK]": 1, "good": 2, "day": 3, "to": 4, "you": 5}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 6}
    torch.manual_seed(0)
    DebertaV2Model(DebertaV2Config(hidden_size=hidden_size, **sizes)).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_deberta(tmp_path, pooling):
    embedder = DebertaText(deberta(tmp_path), pooling, local_files_only=True)
    rows = embedder(["good day", "", "good day to you"])
    assert rows.shape == (3, 768)
    assert not rows[1].any()
    torch.testing.assert_close(rows[0], embedder(["good day"])[0], rtol=1e-4, atol=1e-5)  # padding does not matter
    assert not torch.allclose(rows[0], rows[2])
    states = embedder.network(torch.tensor([[2, 3]])).last_hidden_state[0]
    expected = states.mean(dim=0) if pooling == "mean" else states[0]
    torch.testing.assert_close(rows[0], expected, rtol=1e-4, atol=1e-5)


def test_deberta_of_another_width(tmp_path):
    with pytest.raises(ValueError, match="model must have hidden states of 768, got 32"):
        DebertaText(deberta(tmp_path, 32), local_files_only=True)
    with pytest.raises(ValueError, match="pooling must be 'mean' or 'cls', got 'max'"):
        DebertaText(str(tmp_path), "max")


@pytest.mark.parametrize("place", ["empty", "nowhere/at/all", "torn"])
def test_a_model_that_is_not_there_is_told(tmp_path, place):
    (tmp_path / "empty").mkdir()
    deberta(tmp_path / "torn")
    (tmp_path / "torn/model.safetensors").write_bytes(b"torn")
    model = str(tmp_path / place)
    with pytest.raises(
        ValueError, match=f"model must be the name of a model on the Hugging Face hub, .* got '{model}'"
    ):
        DebertaText(model, local_files_only=True)
