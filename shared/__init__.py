"""What both stages must agree on: the data contract, its rules, and the way to the store."""
