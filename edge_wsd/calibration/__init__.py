"""Which switch would other settings have given? A draft is written and scored once."""
