"""The settings of an audit so small that it takes seconds, on speakers who hum."""

TINY = {
    "minutes": 500.0,  # all that can be chosen fits
    "sigmas": [0.001],
    "samples": [32],
    "num_utterances": 2,
    "num_pilot": 16,
    "num_select": 8,
    "batch_size": 8,
    "attack_steps": 2,
    "max_queries": 51,
    "smoothed_steps": 2,
    "num_noise": 2,
    "num_eval": 16,
    "accelerator": "cpu",
}
DATA = {"num_test_speakers": 3, "num_enroll": 1, "crop_seconds": 0.4}
