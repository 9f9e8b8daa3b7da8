"""Studies of several trainings: comparing methods, searching for settings."""
