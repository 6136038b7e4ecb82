"""The lookbook: HTML pages about a home's data and models. Sections, templates, and publishing."""
