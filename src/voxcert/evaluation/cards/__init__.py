"""Model cards of checkpoints, and the table of all encoders."""
