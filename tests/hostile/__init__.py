"""Children that do their worst to their master, over every channel that they have."""
