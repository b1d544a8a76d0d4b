"""JSON schemas as grammars: what a grammar cannot hold is refused, so what it lets through keeps to the schema."""
