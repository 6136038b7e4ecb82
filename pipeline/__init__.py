"""Atelier's orchestration: the only package that knows Dagster."""

import warnings

# Dagster says at every import which of its features are in beta or preview; requirements.txt pins what we tested.
warnings.filterwarnings("ignore", message=".*(in beta|in preview).*")
