"""Administration: every operation once, in `operations`; the command line is a thin skin on it."""
