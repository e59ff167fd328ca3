"""The command line for programs that assist an operator, over the Model Context Protocol."""
