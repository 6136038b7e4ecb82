"""Names of the parts of `modern`'s score in plain words, for people who look at a pick or at a shop."""

# Part -> the word shown beside a pick. Parts with the same word are added up.
_PLAIN = {
    "image": "looks",
    "text": "words",
    "category": "category",
    "popularity": "sells well",
    "recent_popularity": "sells now",
    "recency": "sells now",
    "bought_together": "bought together",
    "dates": "season",
}
# Part -> its name in a table of all parts.
_EXACT = {
    "image": "pictures like those of what they have",
    "text": "titles and categories like those of what they have",
    "popularity": "bought by many",
    "recent_popularity": "bought by many of late",
    "recency": "bought by somebody a short time ago",
    "bought_together": "bought by people who buy the same",
    "dates": "sells at the time of year when they shop",
}


def plain(part: str) -> str:
    """Name a part in a word or two: `looks`."""
    return _PLAIN.get(part.split(maxsplit=1)[0], part.replace("_", " "))


def exact(part: str) -> str:
    """Name a part so that it differs from all others."""
    if part.startswith("category "):
        return f"{plain(part)}: level {part.split()[1]} of the path"
    return f"{plain(part)}: {_EXACT[part]}" if part in _EXACT else plain(part)
