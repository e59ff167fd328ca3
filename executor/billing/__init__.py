"""What calls cost: prices, the accounts with a ceiling, and the ledger that keeps them."""
