"""The lookbook: templates, and the builder of the page."""
