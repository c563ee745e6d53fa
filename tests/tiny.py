"""The arguments of an ECAPA-TDNN so small that tests take milliseconds."""

TINY = {"channels": 16, "mfa_channels": 48, "dim": 24, "attention_channels": 8, "se_channels": 8, "res2net_scale": 4}
