"""OpenAI's interface: chat completions, responses, completions."""
