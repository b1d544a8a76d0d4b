"""Pairs of models under one name: those that are built in, and the user's file of others."""
