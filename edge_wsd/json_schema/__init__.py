"""JSON schemas as grammars: what a grammar cannot express is refused, so all that it allows is valid."""
