"""What every job shares: the folder, the skeleton of a job, processes, audio files."""
