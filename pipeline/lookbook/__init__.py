"""The lookbook: templates, and the builder of its pages."""
