"""What all commands share: options, exit codes, output."""
