"""Readers of files that other projects publish for several encoders."""
