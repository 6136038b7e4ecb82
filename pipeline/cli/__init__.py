"""The commands of the terminal, one module each: arguments, checks and output. The work is in the subject's room."""
