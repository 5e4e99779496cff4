"""Search for good settings: a space, a study that many processes share, and what was found."""
