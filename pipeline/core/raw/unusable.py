"""Name the kinds of picture addresses that are given but cannot be used.

`addresses.py` finds them. It counts each as `urls_KIND`, and the first kind of a product is in its `pictures_refused`.
"""

KINDS = {
    "archive_unread": "in an archive that is damaged, or neither a zip nor an uncompressed tar (pack it as one)",
    "data": "data: addresses",
    "embedded": "pictures inside the table (write them as files and give their paths)",
    "file_host": "files of another machine",
    "in_text": "texts with an address inside (give the address alone)",
    "list_unread": "lists that are cut short or cannot be read",
    "local_refused": "local paths or s3:// in a file that was fetched",
    "misspelt": "misspelt addresses, such as http:/host or https//host",
    "name_refused": "values with a slash, which a pattern cannot have",
    "no_file": "no file matches the pattern",
    "not_an_address": "neither addresses nor paths",
    "not_text": "not text",
    "other_scheme": "neither http(s) nor files",
    "too_long": "too long",
    "unknown_keys": "objects without a known key (url, src, href, link, image_url, image, path, or a size)",
    "video": "videos",
    "windows_path": "paths of Windows",
    "without_scheme": "addresses without https://",
}
# Kinds of what gives no address at all.
NOTHING = {"empty": "empty", "no_value": "words for nothing", "without_value": "no value for the pattern"}


class UnusableError(ValueError):
    """A text that is no address which can be read; its message is one of KINDS or NOTHING."""


def words(kind: str) -> str:
    """Return a kind of address in words."""
    return KINDS.get(kind) or NOTHING.get(kind) or kind.replace("_", " ")
