"""Error rates and speech quality."""
