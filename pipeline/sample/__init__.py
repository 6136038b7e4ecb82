"""The embedded catalogue: draws garments, writes Amazon-format JSON about them, serves their pictures over HTTP.

`catalogue.write_catalogue` and `server.serve` are what the pipeline calls; nothing here knows Dagster or a model.
"""
