"""Verify a home: compare every file with the digest recorded when it was written."""
