"""Identify pictures and files with signed URLs by a key: the URL without its signature.

Object stores sign a URL for hours, so tomorrow's URL of the same picture is different. `key` removes only the
parameters of the families below, and only if all parameters that mark a family are present, because two different
pictures must never share a key. So a lone `token=`, `key=` or `sig=` stays, since it may name the picture; at worst
that picture is fetched again. Requests use the URL as it was given (`address.py`).
"""

import re
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class Family:
    """One scheme of signing URLs; all names are in lower case."""

    source: str  # documentation of its parameters
    marks: tuple[str, ...]  # parameters that must all be present
    stripped: str  # regular expression of the parameters to remove
    forms: tuple[tuple[str, str], ...] = ()  # (parameter, regular expression that its value must match)
    hosts: tuple[str, ...] = ()  # the only hosts with this scheme; none: all hosts


def _expiring(source: str, key_id: str, *more: str) -> Family:
    """Make a family whose address carries the id of a key, a signature and a time of expiry."""
    marks = (key_id, "signature", "expires")
    return Family(source, marks, "|".join((*marks, *more)))


_HEX = "[0-9a-f]"
_AKAMAI = "techdocs.akamai.com/property-mgr/docs/auth-token-2-0-ver"
_AZURE = "sv|ss|srt|sr|st|se|sp|sip|spr|si|sig|sdd|ses|skoid|sktid|skt|ske|sks|skv|skdutid|saoid|suoid|scid"
FAMILIES = (
    Family(
        "docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html",
        ("x-amz-signature",),
        "x-amz-(algorithm|credential|date|expires|signedheaders|signature|security-token|content-sha256)",
    ),
    _expiring(
        "docs.aws.amazon.com/AmazonS3/latest/API/RESTAuthentication.html (version 2)",
        "awsaccesskeyid",
        "x-amz-security-token",
    ),
    _expiring(
        "docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-creating-signed-url-canned-policy.html",
        "key-pair-id",
        "hash-algorithm",
    ),
    Family(
        "docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-creating-signed-url-custom-policy.html",
        ("key-pair-id", "signature", "policy"),
        "key-pair-id|signature|policy|hash-algorithm",
    ),
    Family(
        "cloud.google.com/storage/docs/authentication/signatures",
        ("x-goog-signature",),
        "x-goog-(algorithm|credential|date|expires|signedheaders|signature)",
    ),
    _expiring("cloud.google.com/storage/docs/access-control/signed-urls-v2", "googleaccessid"),
    _expiring("cloud.google.com/cdn/docs/using-signed-urls", "keyname"),
    Family(
        "learn.microsoft.com/rest/api/storageservices/create-service-sas (also create-account-sas)",
        ("sv", "sig", "se"),
        _AZURE,
        forms=(("sv", r"\d{4}-\d\d-\d\d"),),
    ),
    Family(  # its expiry is in a stored access policy, not in the address
        "learn.microsoft.com/rest/api/storageservices/define-stored-access-policy",
        ("sv", "sig", "si"),
        _AZURE,
        forms=(("sv", r"\d{4}-\d\d-\d\d"),),
    ),
    *(Family(_AKAMAI, (name,), name) for name in ("hdnts", "hdnea", "hdntl")),
    Family(
        _AKAMAI,
        ("__token__",),
        "__token__",
        forms=(("__token__", rf"(.*~)?exp=\d+~.*hmac={_HEX}+"),),
    ),
    Family("akamai.com, EdgeAuth 1.0", ("__gda__",), "__gda__", forms=(("__gda__", rf"\d{{9,11}}_{_HEX}+"),)),
    _expiring(
        "alibabacloud.com/help/en/oss/developer-reference/add-signatures-to-urls (version 1)",
        "ossaccesskeyid",
        "security-token",
    ),
    Family(  # x-oss-process stays, because it selects the picture
        "alibabacloud.com/help/en/oss/developer-reference/add-signatures-to-urls (version 4)",
        ("x-oss-signature",),
        "x-oss-(signature-version|credential|date|expires|signature|additional-headers|security-token)",
    ),
    Family(
        "alibabacloud.com/help/en/cdn/user-guide/type-a-signing",
        ("auth_key",),
        "auth_key",
        forms=(("auth_key", rf"\d{{10}}-[0-9A-Za-z]+-\d+-{_HEX}{{32}}"),),
    ),
    Family(
        "cloud.tencent.com/document/product/436/7778",
        ("q-sign-algorithm", "q-ak", "q-signature"),
        "q-sign-algorithm|q-ak|q-sign-time|q-key-time|q-header-list|q-url-param-list|q-signature|x-cos-security-token",
    ),
    _expiring("support.huaweicloud.com/intl/en-us/api-obs/obs_04_0011.html", "accesskeyid", "x-obs-security-token"),
    Family(
        "discord.com/developers/docs/reference#signed-attachment-cdn-urls",
        ("ex", "is", "hm"),
        "ex|is|hm",
        hosts=("cdn.discordapp.com", "media.discordapp.net"),
    ),
    Family(
        "developers.cloudflare.com/images/manage-images/serve-images/serve-private-images",
        ("exp", "sig"),
        "exp|sig",
        forms=(("exp", r"\d{10}"), ("sig", f"{_HEX}{{64}}")),
        hosts=("imagedelivery.net",),
    ),
)
# A URL without any of these has no signature. Arrow rules out nearly all URLs of a column by it in one pass.
MAYBE = (
    r"(?i)[?&](x-(amz|goog|oss)-signature|signature|sig|hdnts|hdnea|hdntl|__token__|__gda__|auth_key|q-signature|hm)="
)
_MAYBE = re.compile(MAYBE)
_WHEN = (
    "x-amz-date",
    "x-goog-date",
    "x-oss-date",
    "expires",
    "se",
    "q-sign-time",
    "exp",
    "ex",
    "auth_key",
    "hdnts",
    "hdnea",
    "__token__",
    "__gda__",
)


def key(url: str) -> str:
    """Remove the signature's parameters from a URL; the others keep their order."""
    if _MAYBE.search(url) is None:
        return url
    before, fragment_mark, fragment = url.partition("#")
    place, _, query = before.partition("?")
    pieces = query.split("&")
    host = place.partition("://")[2].partition("/")[0].rpartition("@")[2].partition(":")[0].lower()
    values = dict(map(_named, pieces))
    for family in FAMILIES:
        if _is_signed_by(family, values, host):
            gone = re.compile(family.stripped)
            pieces = [piece for piece in pieces if not gone.fullmatch(_named(piece)[0])]
    return place + ("?" if pieces else "") + "&".join(pieces) + fragment_mark + fragment


Column = TypeVar("Column", pa.Array, pa.ChunkedArray)


def keys(urls: Column) -> Column:
    """Compute `key` of every URL of a column; nulls stay, and a column without signatures is returned unchanged."""
    if isinstance(urls, pa.ChunkedArray):
        return pa.chunked_array([keys(chunk) for chunk in urls.chunks], urls.type)
    column = urls
    if not pc.any(pc.match_substring(column, "?")).as_py():  # true for nearly all shops, and the fastest test
        return column
    signed = pc.match_substring_regex(column, MAYBE).fill_null(False)
    if not pc.any(signed).as_py():
        return column
    found = pa.array([key(url) for url in column.filter(signed).to_pylist()], column.type)
    return pc.replace_with_mask(column, signed, found)


def keyed(table: pa.Table) -> pa.Table:
    """Replace each `url` of a table by its key."""
    at = table.schema.get_field_index("url")
    return table.set_column(at, table.schema.field(at), keys(table["url"]))


def freshest(urls: Column) -> Column:
    """Replace each URL by the newest URL with the same key; nulls stay null.

    The newest has the latest signing or expiry time. If a signature has neither, the last in the column counts as the
    newest.
    """
    if isinstance(urls, pa.ChunkedArray):
        signed = any(pc.any(pc.not_equal(keys(chunk), chunk)).as_py() for chunk in urls.chunks)
        return pa.chunked_array([freshest(urls.combine_chunks())], urls.type) if signed else urls
    column, own = urls, keys(urls)
    signed = pc.not_equal(own, column).fill_null(False)
    if not pc.any(signed).as_py():
        return column
    newest: dict[str, tuple[tuple[int, str], str]] = {}
    among = pc.is_in(own, value_set=pc.unique(own.filter(signed)))
    for known_by, url in zip(own.filter(among).to_pylist(), column.filter(among).to_pylist(), strict=True):
        made = _made(url)
        if known_by not in newest or made >= newest[known_by][0]:
            newest[known_by] = made, url
    found = pa.array([newest[known_by][1] for known_by in own.filter(among).to_pylist()], own.type)
    return pc.replace_with_mask(column, among, found)


def _named(piece: str) -> tuple[str, str]:
    name, _, value = piece.partition("=")
    return unquote(name).lower(), unquote(value)


def _is_signed_by(family: Family, values: dict[str, str], host: str) -> bool:
    if family.hosts and host not in family.hosts:
        return False
    if not all(values.get(mark) for mark in family.marks):
        return False
    return all(re.fullmatch(form, values.get(name, "")) for name, form in family.forms)


def _made(url: str) -> tuple[int, str]:
    """Return a sort key by signing or expiry time, comparable among URLs of one picture and family."""
    if key(url) == url:
        return 0, ""  # unsigned: used only if there is no signed URL
    values = dict(map(_named, url.partition("#")[0].partition("?")[2].split("&")))
    for name in _WHEN:
        if value := values.get(name):
            return 1, value.rjust(20, "0") if value.isdigit() else value
    return 1, ""
