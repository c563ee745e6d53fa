"""Networks from waveforms to unit embeddings, and what is built directly on them."""
