"""Asset checks: rules that the next stage relies on, checked on the stored data.

Each check reports actual and expected values. A blocking check stops downstream assets; a warning asks a person to
look. Checks read tables, files and metadata; code that computes or repairs tables does not belong here.
"""
