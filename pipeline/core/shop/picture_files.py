"""Find the picture files of a product by a pattern such as `images/{id:.3}/{id}.jpg` or `pics.zip/{id}_*.jpg`."""

import bisect
import fnmatch
import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from pipeline.core.errors import InputError
from pipeline.core.images.archives import ArchiveError
from pipeline.core.local_address import file_address
from pipeline.core.quoting import printable
from pipeline.core.shop.mapping import PictureFiles
from pipeline.core.shop.picture_listing import PictureListing, archived, present
from pipeline.core.stored_address import S3, is_stored

_FIELD = re.compile(r"\{([^{}:]+)(?::(\d*)\.(\d+))?\}")
PER_PRODUCT = 1_000  # files of one product


class PicturePattern:
    """The pattern of a shop, in the folder where it applies.

    Raises:
        InputError: the pattern has a field that is no column, or something that a pattern cannot have.
    """

    def __init__(self, files: PictureFiles, beside: Path, columns: Sequence[str]) -> None:
        self.pattern = files.pattern
        place = f'shop.toml: [pictures] pattern = "{printable(self.pattern)}"'
        self.columns = tuple(dict.fromkeys(found[1] for found in _FIELD.finditer(self.pattern)))
        rest = _FIELD.sub("", self.pattern)
        if "{" in rest or "}" in rest:
            raise InputError(f"{place}: a field is {{column}}, {{column:.3}} (the first three) or {{column:3.6}}")
        unknown = next((name for name in self.columns if name not in columns), None)
        if unknown is not None:
            raise InputError(
                f"{place}: the products have no column {printable(unknown)}; they have"
                f" {printable(', '.join(columns), 500)}"
            )
        self.is_web = self.pattern.lower().startswith(("http://", "https://"))
        self.is_glob, self._listing = False, PictureListing()
        if self.is_web:
            if "*" in rest:
                raise InputError(f"{place}: * matches files; in an address name each picture whole")
            return
        if "://" in rest and not self.pattern.startswith(S3):
            raise InputError(f"{place}: give a path, or an address that begins with http://, https:// or s3://")
        folder, _, self._name = self.pattern.rpartition("/")
        if "*" in folder or "?" in folder or ".." in Path(folder).parts:
            raise InputError(f"{place}: * and ? may be in the file's name alone, and .. nowhere")
        fixed = _FIELD.split(folder)[0] if "{" in folder else f"{folder}/"
        if self.pattern.startswith(S3) and ("*" in self._name or "?" in self._name):
            raise InputError(f"{place}: * and ? match files and members of archives; in s3:// name each picture whole")
        self.base = _base(files, beside, fixed.rpartition("/")[0])
        self.is_glob = "*" in self._name or "?" in self._name

    def urls(self, row: Mapping[str, str | None], counts: Counter[str], refused: list[str]) -> list[str]:
        """Return the addresses of a product's pictures; `row` has the values of `columns`.

        Without any, the kind (`unusable.KINDS`) is appended to `refused`, except where a value is missing.
        """
        values = {}
        for name in self.columns:
            value = row[name]
            if not value:
                counts["pictures_without_value"] += 1
                return []
            if "/" in value or "\\" in value or "\x00" in value or value in (".", ".."):
                counts["pictures_name_refused"] += 1
                refused.append("name_refused")
                return []
            values[name] = quote(value, safe="") if self.is_web else value
        filled = self._filled(values)
        if self.is_web or filled.startswith(S3):
            return [filled]
        folder, _, name = filled.rpartition("/")
        if self.is_glob:
            kind = "no_file"
            try:
                found = self._matching(self.base / folder, values)
            except ArchiveError:
                found, kind = [], "archive_unread"
            if not found:
                counts[f"pictures_{kind}"] += 1
                refused.append(kind)
        else:
            found = [name]
        return [file_address(os.path.abspath(self.base / folder / name)) for name in found]  # noqa: PTH100

    def state(self) -> str:
        """Return a text that changes when other files may match; empty for a pattern that lists no folder."""
        if not self.is_glob:
            return ""
        steps = [_FIELD.sub("*", step) for step in self.pattern.split("/") if step not in ("", ".")]
        known = hashlib.sha256()
        for path in present(Path("/") if self.pattern.startswith("/") else self.base, steps):
            known.update(f"{path}\n".encode("utf-8", "surrogateescape"))
        return known.hexdigest()[:16]

    def _filled(self, values: Mapping[str, str], pattern: str | None = None) -> str:
        def value(found: re.Match[str]) -> str:
            whole = values[found[1]]
            return whole[int(found[2] or 0) : int(found[3])] if found[3] else whole

        return _FIELD.sub(value, self.pattern if pattern is None else pattern)

    def _matching(self, folder: Path, values: Mapping[str, str]) -> list[str]:
        """List the files of a folder that match; those of one beginning are neighbours in the sorted names."""
        start = self._filled(values, re.split(r"[*?]", self._name)[0])
        wanted = self._filled({name: _escaped(value) for name, value in values.items()}, self._name)
        names, found = self._listing.names(folder), []
        for name in names[bisect.bisect_left(names, start) :]:
            if not name.startswith(start) or len(found) >= PER_PRODUCT:
                break
            if fnmatch.fnmatchcase(name, wanted):
                found.append(name)
        return found


def _base(files: PictureFiles, beside: Path, fixed: str) -> Path:
    """Choose the folder from which a pattern counts: beside the table, or one that shop.toml names."""
    folders = [Path(folder) for folder in files.folders if not is_stored(folder)]
    if not fixed and folders:
        return folders[0]
    return next((folder for folder in (beside, *folders) if archived(folder / fixed)[0].exists()), beside)


def _escaped(value: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", value)
