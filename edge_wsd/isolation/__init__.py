"""A pair whose models live in a process of their own: a crash of native code ends that one, not the application."""
