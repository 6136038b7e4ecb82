"""A picture keeps its key under a new signature, and two pictures never share a key."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core import signatures
from pipeline.core.signatures import FAMILIES, Family, freshest, key, keys

MAC = "0123456789abcdef" * 4
# One signed query of each family, with placeholders for what a new signature changes.
SIGNED = [
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F2026&X-Amz-Date=2026{0}T000000Z&X-Amz-Expires=900"
    "&X-Amz-SignedHeaders=host&X-Amz-Security-Token=t{0}&X-Amz-Signature={0}",
    "AWSAccessKeyId=AKIA&Expires=17{0}&Signature=a%2B{0}%3D",
    "Expires=17{0}&Signature=a~{0}_&Key-Pair-Id=K2",
    "Policy=eyJ{0}_&Signature=a~{0}_&Key-Pair-Id=K2",
    "X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=a%40b&X-Goog-Date=2026{0}T000000Z&X-Goog-Expires=900"
    "&X-Goog-SignedHeaders=host&X-Goog-Signature={0}",
    "GoogleAccessId=a@b.iam&Expires=17{0}&Signature={0}%3D",
    "Expires=17{0}&KeyName=k&Signature={0}",
    "sv=2023-11-03&st=2026-01-01T00%3A00%3A00Z&se=2026-{0}&sr=b&sp=r&sig={0}%3D&skoid=1&sktid=2&skt=3&ske=4&sks=b&skv=5",
    "sv=2023-11-03&si=policy&sr=b&sig={0}%3D",
    "hdnts=exp=17{0}~acl=/*~hmac=abcdef",
    "hdnea=st=1~exp=17{0}~acl=/*~hmac=abcdef",
    "hdntl=exp=17{0}~hmac=abcdef",
    "__token__=exp=17{0}~acl=/*~hmac=abcdef",
    "__gda__=17{0}_" + MAC,
    "OSSAccessKeyId=L&Expires=17{0}&Signature={0}&security-token=t",
    "x-oss-signature-version=OSS4-HMAC-SHA256&x-oss-credential=c&x-oss-date=2026{0}T000000Z&x-oss-expires=9"
    "&x-oss-signature={0}",
    "auth_key=17{0}-0-0-" + MAC[:32],
    "q-sign-algorithm=sha1&q-ak=A&q-sign-time=17{0}&q-key-time=17{0}&q-header-list=&q-url-param-list=&q-signature={0}",
    "AccessKeyId=A&Expires=17{0}&Signature={0}",
]  # fmt: skip
OF_A_HOST = ["https://cdn.discordapp.com/a.png?ex={0}&is=1&hm=ab&", "https://imagedelivery.net/a?exp=17{0}&sig=" + MAC]


@pytest.mark.parametrize("query", SIGNED)
@pytest.mark.parametrize("which", ["", "id=7&w=300&size=L", "x-oss-process=image%2Fresize", "versionId=%2F3"])
def test_the_key_ignores_the_signature_and_keeps_what_names_the_picture(query: str, which: str) -> None:
    place = "https://cdn.example/a%2Fb.jpg"
    for written in (f"{query}&{which}", f"{which}&{query}") if which else (query,):
        one, two = (f"{place}?{written.format(when)}" for when in ("01010101", "02020202"))
        assert key(one) == key(two) == (f"{place}?{which}" if which else place)
    assert key(f"{place}?id=1&{query}") != key(f"{place}?id=2&{query}")
    assert key(f"https://cdn.example/a.jpg?{query}") != key(f"https://cdn.example/b.jpg?{query}")


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: f"{family.source[:30]} {family.marks}")
def test_every_family_is_recognised(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures, "FAMILIES", (family,))
    urls = [url.format("01010101") for url in (*(f"https://h/a?{query}" for query in SIGNED), *OF_A_HOST)]
    assert any(key(url) != url for url in urls)


def test_a_hosts_own_scheme_applies_only_to_that_host() -> None:
    for url in OF_A_HOST:
        assert key(url.format("01010101")) == key(url.format("02020202"))
        elsewhere = url.format("01010101").replace("cdn.discordapp.com", "h").replace("imagedelivery.net", "h")
        assert key(elsewhere) == elsewhere


@pytest.mark.parametrize(
    "query",
    ["token=a", "access_token=a", "key=a", "sig=a", "Signature=a", "Expires=1", "Signature=a&Expires=1", "auth=a",
     "auth_key=a", "__token__=a", "sv=1&sig=a&se=2", "Key-Pair-Id=a&Signature=b", "ex=1&is=2&hm=3", "X-Amz-Date=1",
     "token=a&expires=1700000000", "exp=1&sig=a", "hm=a", "s=a", "id=X-Amz-Signature", "x-oss-process=a"],
)  # fmt: skip
def test_parameters_that_may_name_the_picture_stay(query: str) -> None:
    assert key(f"https://shop.example/get?{query}") == f"https://shop.example/get?{query}"


NAMES = st.sampled_from(
    ["id", "w", "size", "token", "key", "sig", "Signature", "Expires", "sv", "se", "X-Amz-Signature", "hdnts", "Policy"]
)
QUERY = st.lists(st.tuples(NAMES, st.text("ab%2F=", max_size=4)), max_size=6).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
)


@settings(max_examples=300)
@given(QUERY)
def test_a_key_is_its_own_key_and_keeps_unknown_parameters(query: str) -> None:
    url = f"https://shop.example/a.jpg?{query}"
    found = key(url)
    assert key(found) == found
    own = [piece for piece in query.split("&") if piece.split("=")[0] in ("id", "w", "size", "token", "key")]
    assert [piece for piece in found.partition("?")[2].split("&") if piece in own] == own
    assert keys(pa.array([url, None])).to_pylist() == [found, None]


def test_the_newest_of_a_pictures_urls_is_requested() -> None:
    days = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 3, 2)]
    s3 = [f"https://h/a.jpg?X-Amz-Date={day:%Y%m%dT000000Z}&X-Amz-Signature={day.day}" for day in days]
    cdn = [f"https://h/b.jpg?Expires={(day + timedelta(1)).timestamp():.0f}&Signature=x&Key-Pair-Id=K" for day in days]
    plain = "https://h/c.jpg"
    column = pa.chunked_array([[*s3, "https://h/a.jpg"], [*cdn, None, plain]])
    assert freshest(column).to_pylist() == [s3[1]] * 4 + [cdn[1]] * 3 + [None, plain]
    timeless = ["https://h/a.jpg?hdnts=x", "https://h/a.jpg?hdnts=a"]
    assert freshest(pa.array(timeless)).to_pylist() == [timeless[0]] * 2  # ordered by their values as text
    assert freshest(pa.chunked_array([], pa.string())).to_pylist() == []
