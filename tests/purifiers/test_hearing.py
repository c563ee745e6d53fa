import pytest
import torch
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    GenerationConfig,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2Tokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

from voxcert.purifiers.hearing import Aud2Vec, AudioLanguageModel, SpeechRecognition, Transcriber, words_hash
from voxcert.purifiers.text import HashedText

LAYER = {"layers": 1, "attention_heads": 2, "ffn_dim": 16}


@pytest.fixture
def waveform():
    return 0.1 * torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def language_model(tmp_path):
    """Folder of a Qwen2-Audio with random weights, whose tokens are bytes."""
    torch.manual_seed(0)
    tokenizer = Qwen2Tokenizer(vocab={letter: i for i, letter in enumerate(sorted(ByteLevel.alphabet()))}, merges=[])
    special = ["<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=5)
    Qwen2AudioProcessor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(tmp_path / "qwen")
    heard = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16}
    heard |= {"num_mel_bins": 16, "max_source_positions": 250}
    said = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2}
    said |= {"intermediate_size": 16, "vocab_size": len(tokenizer)}
    audio_token = tokenizer.convert_tokens_to_ids("<|AUDIO|>")
    config = Qwen2AudioConfig(audio_config=heard, text_config=said, audio_token_index=audio_token)
    Qwen2AudioForConditionalGeneration(config).save_pretrained(tmp_path / "qwen")
    return str(tmp_path / "qwen")


def test_speech_recognition(speech_recognizer, waveform):
    texts = SpeechRecognition(speech_recognizer, local_files_only=True)(waveform)
    network = Wav2Vec2ForCTC.from_pretrained(speech_recognizer).eval()
    extracted = Wav2Vec2FeatureExtractor()(waveform[1].numpy(), sampling_rate=16_000, return_tensors="pt")
    best = network(extracted["input_values"]).logits[0].argmax(dim=1).unique_consecutive().tolist()
    expected = "".join({1: " ", 2: "<unk>", 3: "a", 4: "b"}.get(token, "") for token in best).strip()
    assert len(texts) == 2
    assert texts[1].replace("<unk>", "") == expected.replace("<unk>", "")


@pytest.fixture
def whisper(tmp_path):
    """Folder of a Whisper with random weights, whose tokens are bytes and times, and which by itself gives no times."""
    torch.manual_seed(2)  # with which it writes letters
    tokenizer = WhisperTokenizer(vocab={letter: i for i, letter in enumerate(sorted(ByteLevel.alphabet()))}, merges=[])
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|startofprev|>", "<|notimestamps|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.add_tokens([f"<|{0.02 * step:.2f}|>" for step in range(1501)], special_tokens=True)
    tokenizer.save_pretrained(tmp_path / "whisper")
    WhisperFeatureExtractor(feature_size=16).save_pretrained(tmp_path / "whisper")
    end, start, previous, no_times = (tokenizer.convert_tokens_to_ids(name) for name in special)
    common = {"decoder_start_token_id": start, "eos_token_id": end, "pad_token_id": end, "bos_token_id": end}
    layers = {f"{part}_{name}": size for part in ("encoder", "decoder") for name, size in LAYER.items()}
    config = WhisperConfig(
        vocab_size=len(tokenizer), num_mel_bins=16, d_model=16, max_target_positions=64, **layers, **common
    )
    config.suppress_tokens, config.begin_suppress_tokens = [], []
    network = WhisperForConditionalGeneration(config)
    network.generation_config = GenerationConfig(
        **common,
        no_timestamps_token_id=no_times,
        prev_sot_token_id=previous,
        return_timestamps=False,
        is_multilingual=False,
        max_initial_timestamp_index=50,
        max_length=30,
    )
    network.save_pretrained(tmp_path / "whisper")
    return str(tmp_path / "whisper")


def test_whisper_hears_more_than_half_a_minute(whisper):
    transcriber = SpeechRecognition(whisper, local_files_only=True)
    short, long = (transcriber(0.1 * torch.randn(1, 16_000 * seconds))[0] for seconds in (5, 31))
    assert 0 < len(short) < len(long)


def test_audio_language_model(language_model, waveform):
    model = AudioLanguageModel(language_model, max_new_tokens=6, local_files_only=True)
    texts = model(waveform)
    assert len(texts) == 2
    assert all(isinstance(text, str) for text in texts)
    assert texts == model(waveform)  # greedy
    assert not any("AUDIO" in text or model.prompt in text for text in texts)  # the answer alone


@pytest.mark.parametrize("kind", [SpeechRecognition, AudioLanguageModel])
@pytest.mark.parametrize("place", ["empty", "nowhere/at/all", "a-name"])
def test_a_model_that_is_not_there_is_told(tmp_path, kind, place):
    (tmp_path / "empty").mkdir()
    model = place if place == "a-name" else str(tmp_path / place)
    with pytest.raises(
        ValueError, match=f"model must be the name of a model on the Hugging Face hub, .* got '{model}'"
    ):
        kind(model, local_files_only=True)


class Counting(Transcriber):
    """Says how loud it is, and counts how often it was asked."""

    def __init__(self, level=1.0):
        super().__init__()
        self.level, self.asked = level, 0

    def forward(self, waveform):
        """Writes down the level of each row."""
        self.asked += len(waveform)
        return [f"level {self.level * float(row.abs().mean()):.6f}" for row in waveform]


def test_aud2vec_embeds_what_is_heard(waveform):
    aud2vec = Aud2Vec(Counting(), HashedText())
    texts = aud2vec.transcriber(waveform)
    torch.testing.assert_close(aud2vec(waveform.requires_grad_()), HashedText()(texts))


def test_an_utterance_is_asked_about_once(waveform, tmp_path):
    first, expected = Counting(), Aud2Vec(Counting(), HashedText())(waveform)
    for _ in range(2):
        assert torch.equal(Aud2Vec(first, HashedText(), tmp_path)(waveform), expected)
    assert first.asked == 2
    Aud2Vec(first, HashedText(), tmp_path)(waveform + 1e-4)  # an attack makes it another
    assert first.asked == 4
    others = Counting(2.0), Counting()
    Aud2Vec(others[0], HashedText(), tmp_path)(waveform)
    Aud2Vec(others[1], HashedText(1, 2), tmp_path)(waveform)
    assert (others[0].asked, others[1].asked) == (2, 2)
    text, embedding = Aud2Vec(Counting(), HashedText(), tmp_path).hear(waveform[0])
    assert text.startswith("level 0.07")
    assert torch.equal(embedding, expected[0])


class Weighing(Counting):
    """Has a weight, which no argument tells."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))


def test_what_other_weights_heard_is_not_taken(waveform, tmp_path):
    """Of a model that was replaced in its folder, say."""
    first, same, other = Weighing(), Weighing(), Weighing()
    torch.nn.init.ones_(other.weight)
    for transcriber in (first, same, other):
        Aud2Vec(transcriber, HashedText(), tmp_path)(waveform)
    assert (first.asked, same.asked, other.asked) == (2, 0, 2)


def test_words_go_by_arguments_and_weights(speech_recognizer):
    one, two = (SpeechRecognition(speech_recognizer, local_files_only=True) for _ in range(2))
    assert words_hash(HashedText(), one) == words_hash(HashedText(), two)
    before = words_hash(HashedText(), two)
    with torch.no_grad():
        two.network.lm_head.bias += 1
    hashes = {words_hash(HashedText(), two), before, words_hash(HashedText(1, 2), one), words_hash(HashedText(), None)}
    assert len(hashes) == 4
    assert words_hash(None, None) is None


def test_a_torn_file_is_asked_again(waveform, tmp_path):
    aud2vec = Aud2Vec(Counting(), HashedText(), tmp_path)
    expected = aud2vec(waveform)
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:20])
    assert torch.equal(aud2vec(waveform), expected)
    assert aud2vec.transcriber.asked == 4
