"""The embedded catalogue: draw garments, write reviews and metadata in Amazon's JSON format, serve pictures over HTTP.

The pipeline calls `catalogue.write_catalogue` and `server.serve`. Nothing here may import Dagster or a model.
"""
