"""The trained generator, measured and used: figures, studies, and designs for people."""
