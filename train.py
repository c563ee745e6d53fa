"""Train: `python train.py fit --config configs/train/noise_augmented.yaml` (`--help` teaches the rest)."""

from voxcert.cli.train import train

if __name__ == "__main__":
    train(program="python train.py")
