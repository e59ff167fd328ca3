"""The first stage: see a step become executable, claim it, publish its job."""
