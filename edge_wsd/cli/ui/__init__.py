"""What draws, paints and reads lines: the terminal, and nothing that decides."""
