"""The embedded demonstration pair: two tiny models for the command line. A demonstration, not an assistant."""
