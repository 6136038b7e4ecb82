"""Asset checks: rules whose breaking would make the next stage wrong, held where the data lies.

Each says what it saw and what it expected. A check that blocks stops what is downstream of it; a warning asks a person
to look. Checks read tables, files and metadata; they compute no table and mend nothing.
"""
