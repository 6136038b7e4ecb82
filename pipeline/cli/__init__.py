"""The commands of the terminal, one module each. What a command does is in the room of its subject."""
