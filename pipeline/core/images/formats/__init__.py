"""Read picture headers, one module per format, without decoding and in bounded time."""
