"""Trying a model file in a process of its own before it is loaded into this one."""
