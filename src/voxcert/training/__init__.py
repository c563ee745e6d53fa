"""LightningModules, callbacks and export."""
