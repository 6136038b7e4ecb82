"""Past one process: shards on a Ray cluster, ranks that train one model, and what a larger shop asks for."""
