"""Conversations under a name, which survive the program that holds them."""
