"""From URLs to pixels: the downloader, the store of pictures, the bank, and features."""
