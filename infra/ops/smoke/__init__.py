"""One run that must succeed and one that must fail, sent through an environment."""
