"""Remove a reviewer, a product or a picture from a home."""
