"""Commands that need no environment: the local one, bundles, trials."""
