"""The arguments of an ECAPA-TDNN and of a WavLM so small that tests take milliseconds."""

TINY = {"channels": 16, "mfa_channels": 48, "dim": 24, "attention_channels": 8, "se_channels": 8, "res2net_scale": 4}
TINY_WAVLM = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "tdnn_dim": [16] * 5,
    "xvector_output_dim": 24,
}
