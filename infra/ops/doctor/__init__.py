"""Finding what is set up wrong in an environment."""
