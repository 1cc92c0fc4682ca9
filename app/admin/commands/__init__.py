"""The commands, one module for each noun. A command is one operation and a way to show it."""
