"""Read ids, times and ratings as a slow and obvious reference does, whatever an export made of them."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.raw import values

MOMENT = 1_400_000_000  # 2014-05-13 16:53:20 UTC


def texts(*items: str | None) -> pa.Array:
    return pa.array(items, pa.string())


def read_times(*items: str | None, **how):
    """Return seconds, or why there are none, of every text."""
    found = values.times(texts(*items), **how)
    columns = (found.seconds, found.unreadable, found.out_of_range)
    rows = zip(*(column.to_pylist() for column in columns), strict=True)
    return ["unreadable" if odd else "out of range" if outside else seconds for seconds, odd, outside in rows]


WAYS = {
    "1400000000": MOMENT, "1400000000.9": MOMENT, "1.4e9": MOMENT, " 1400000000 ": MOMENT, "+1400000000": MOMENT,
    "1400000000123": MOMENT, "1400000000123.0": MOMENT, "1400000000123456": MOMENT, "1400000000123456789": MOMENT,
    "2014-05-13T16:53:20Z": MOMENT, "2014-05-13T16:53:20": MOMENT, "2014-05-13 16:53:20": MOMENT,
    "2014-05-13 18:53:20+02:00": MOMENT, "2014-05-13T18:53:20+0200": MOMENT, "2014-05-13T16:53:20.123456789Z": MOMENT,
    "20140513T165320Z": MOMENT, "Tue May 13 09:53:20 -0700 2014": MOMENT, "Tue, 13 May 2014 16:53:20 GMT": MOMENT,
    "2014/05/13 16:53:20": MOMENT, '{"$numberLong": "1400000000123"}': MOMENT, '{"$numberInt":"1400000000"}': MOMENT,
    '{"$date": "2014-05-13T16:53:20.123Z"}': MOMENT, '{"$date": {"$numberLong": "1400000000123"}}': MOMENT,
    '{"$date": 1400000000123}': MOMENT,
    "2014-05-13": 1_399_939_200, "20140513": 1_399_939_200, "05 13, 2014": 1_399_939_200, "5 13, 2014": 1_399_939_200,
    "May 13, 2014": 1_399_939_200, "13 May 2014": 1_399_939_200, "2014/05/13": 1_399_939_200,
    "2014-05-13 16:53:20 UTC": MOMENT, 'ISODate("2014-05-13T16:53:20Z")': MOMENT, "/Date(1400000000000)/": MOMENT,
    "\\/Date(1400000000000+0200)\\/": MOMENT, "20140513165320": MOMENT, "1400000000,5": MOMENT,
    "13 May 2014 16:53:20": MOMENT, "13.05.2014 16:53:20": MOMENT, "May 13, 2014 04:53:20 PM": MOMENT,
    "13-May-2014": 1_399_939_200, "2014-5-13": 1_399_939_200, "13.05.2014": 1_399_939_200,
    "20140513256199": "out of range", "1,4": "unreadable", "13/05/2014": "unreadable",
    "0": 0, "7": 7, "20140231": 20_140_231,  # no day of the calendar, so seconds
    "": None, "  ": None, "null": None, "NaN": None, "NaT": None, "None": None, "\\N": None, "N/A": None,
    "yesterday": "unreadable", "true": "unreadable", "2014-02-31": "unreadable", "03/04/2014": "unreadable",
    "{}": "unreadable", "1,400,000,000": "unreadable", "x" * 100_000: "unreadable", "2014-13-13": "unreadable",
    "-1": "out of range", "9999999999": "out of range", "1e30": "out of range", "1" * 100_000: "out of range",
    "inf": "out of range", "1e400": "out of range", "1960-01-01": "out of range", "2999-01-01": "out of range",
}  # fmt: skip


@pytest.mark.parametrize("text", WAYS, ids=lambda text: text[:40])
def test_a_moment_is_read_however_it_is_written(text: str):
    assert read_times(text) == [WAYS[text]]


def test_a_column_of_all_ways_reads_each_value_as_alone():
    assert read_times(*WAYS, None) == [*WAYS.values(), None]
    chunked = pa.chunked_array([texts(*WAYS), texts(None)])
    assert values.times(chunked).seconds.to_pylist()[0] == MOMENT


@pytest.mark.parametrize("numbers", [["2014", "2009"], ["41772", "41772.5"], ["30000"]])
def test_a_column_of_years_or_of_a_spreadsheets_days_is_not_read_as_seconds_of_1970(numbers: list[str]):
    assert read_times(*numbers, "") == [*["unreadable"] * len(numbers), None]
    found = values.times(pa.array([float(number) for number in numbers]))
    assert found.seconds.null_count == len(numbers) and all(found.unreadable.to_pylist())
    assert read_times(*numbers, "70") == [*(int(float(number)) for number in numbers), 70]


def test_years_and_a_spreadsheets_days_are_read_where_the_unit_names_them():
    assert read_times("41772", "41772.5", unit="excel") == [1_399_939_200, 1_399_982_400]
    assert values.times(pa.array([2014]), "%Y").seconds.to_pylist() == read_times("2014", unit="%Y") == [1_388_534_400]


@pytest.mark.parametrize(
    ("dates", "form"),
    [
        (["13/05/2014", "01/02/2014"], "%d/%m/%Y"),
        (["01/02/2014", "05/13/2014"], "%m/%d/%Y"),
        (["01.02.2014 7:30"], "%d.%m.%Y %H:%M"),
        (["05-13-2014 16:53:20"], "%m-%d-%Y %H:%M:%S"),
        (["01/02/2014"], None),
        (["13/05/2014", "05/13/2014"], None),
        (["soon", None], None),
    ],
)
def test_dates_have_the_day_first_or_second_if_only_that_fits_the_column(dates: list[str | None], form: str | None):
    assert values.day_first(dates) == form


@pytest.mark.parametrize("word", ["NaN", "nan", "None", "null", "NULL", "<NA>", "\\N"])
def test_a_word_for_nothing_is_no_id(word: str):
    assert values.ids(texts(word, f" {word} ", "NANCY")).to_pylist() == [None, None, "NANCY"]


def test_the_units_understood_are_counted():
    found = values.times(texts("1400000000", "1400000000123", "20140513", "2014-05-13", "", "soon", "-1"))
    assert found.units == {"s": 1, "ms": 1, "date": 1, "text": 1}


def test_a_given_unit_or_format_wins():
    assert read_times("1400000", "1400000.5", "2014-05-13", unit="ms") == [1400, 1400, "unreadable"]
    assert read_times("20140513", unit="s") == [20_140_513]
    assert read_times("2014-05-13", "1400000000", unit="iso") == [1_399_939_200, "unreadable"]
    assert read_times("13.05.2014", "05/13/2014", "", unit="%d.%m.%Y") == [1_399_939_200, "unreadable", None]
    assert read_times("20140513", unit="%Y%m%d") == [1_399_939_200]


def test_a_zone_applies_only_to_moments_that_name_none():
    assert read_times("2014-05-13", "2014-05-13T00:00:00Z", "1400000000", "May 13, 2014", zone="Europe/Berlin") == [
        1_399_932_000, 1_399_939_200, MOMENT, 1_399_932_000,
    ]  # fmt: skip
    assert read_times("2014-03-30T02:30:00", zone="Europe/Berlin") != ["unreadable"]  # an hour that the clocks skip


def test_typed_columns_are_read_too():
    assert values.times(pa.array([MOMENT, None, -1])).seconds.to_pylist() == [MOMENT, None, None]
    assert values.times(pa.array([1.4e12, float("nan")])).seconds.to_pylist() == [MOMENT, None]
    moment = datetime(2014, 5, 13, 16, 53, 20, tzinfo=UTC)
    assert values.times(pa.array([moment], pa.timestamp("ns", "UTC"))).seconds.to_pylist() == [MOMENT]
    assert values.times(pa.array([moment.date()])).seconds.to_pylist() == [1_399_939_200]


@given(st.lists(st.datetimes(datetime(1974, 1, 1), datetime(2099, 12, 31)) | st.none()), st.sampled_from(
    ["UTC", "Asia/Kolkata", "America/New_York"]))  # fmt: skip
def test_every_moment_in_any_unit_or_text_is_read_as_python_reads_it(moments, zone):
    written, expected = [], []
    for moment in moments:
        if moment is None:
            written.append(None)
            expected.append(None)
            continue
        seconds = (moment - datetime(1970, 1, 1)) // timedelta(seconds=1)
        micro = (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)
        here = moment.replace(tzinfo=ZoneInfo(zone))
        written += [str(seconds), str(micro // 1000), str(micro), str(micro * 1000), moment.isoformat() + "Z"]
        expected += [seconds] * 5
        written += [moment.isoformat(), moment.isoformat(" "), here.isoformat()]
        expected += [int(here.timestamp() // 1)] * 3
    kept = [(w, e) for w, e in zip(written, expected, strict=True) if e is None or 0 <= e <= values.TIMES[1]]
    assert read_times(*(w for w, _ in kept), zone=zone) == [e for _, e in kept]


RATINGS = {
    "4.5": 4.5, "4,5": 4.5, " 3 ": 3.0, "5": 5.0, "+2": 2.0, "1e1": 10.0, '{"$numberDouble": "4.5"}': 4.5, "0": 0.0,
    "100": 100.0, "": None, "NaN": None, "null": None, "good": "unreadable", "true": "unreadable",
    "1,2,3": "unreadable",
    "4/5": 4.0, "5 stars": 5.0, "★★★★": 4.0, "★★★☆☆": 3.0, "4,5 out of 5 stars": 4.5, "\u2b50\ufe0f": 1.0,
    "five": "unreadable", "5 cars": "unreadable", "500 stars": "out of range",
    "[5]": "unreadable", "-0.5": "out of range", "1e39": "out of range", "101": "out of range",
    "Infinity": "out of range", "9" * 100_000: "out of range",
}  # fmt: skip


@pytest.mark.parametrize("chosen", [*([text] for text in RATINGS), list(RATINGS)], ids=lambda chosen: chosen[0][:30])
def test_a_rating_is_read_however_it_is_written(chosen: list[str]):
    found = values.ratings(texts(*chosen))
    rows = zip(*(column.to_pylist() for column in found), strict=True)
    assert ["unreadable" if odd else "out of range" if outside else value for value, odd, outside in rows] == [
        RATINGS[text] for text in chosen
    ]


IDS = {
    "B00123": "B00123", " B1\t": "B1", "108775015.0": "108775015", "0108775015.00": "0108775015", "-7.0": "-7",
    "1.5": "1.5", "1e3": "1e3", "1.0.0": "1.0.0", "B.0": "B.0", ".0": ".0", "10.00x": "10.00x", "": None, "  ": None,
    '["B1"]': None, '{"$oid": "x"}': None, "007": "007", "9" * 40 + ".0": "9" * 40,
}  # fmt: skip


def test_an_id_is_trimmed_and_a_whole_float_is_its_integer():
    assert values.ids(texts(*IDS, None)).to_pylist() == [*IDS.values(), None]


def test_a_width_pads_ids_of_digits_alone():
    padded = values.ids(texts("108775015.0", "108775015", "B1", "-7", None, "12345678901"), width=10)
    assert padded.to_pylist() == ["0108775015", "0108775015", "B1", "-7", None, "12345678901"]


PRICES = {
    "12.99": 12.99, "12,99": 12.99, "$12.99": 12.99, "12.99 EUR": 12.99, "US$ 5": 5, "Rs. 500/-": 500, "5 zł": 5,
    "1.299,00 €": 1299, "1,299.00": 1299, "1,299": 1299, "1.299": 1.299, "1.299 €": 1299, "1 299,50 kr": 1299.5,
    "1'299.00": 1299, "CHF 1’299.–": 1299, "12,- €": 12, "£1,29,999.00": 129999, "0,299": 0.299, "1.234.567": 1234567,
    "1.299,5": 1299.5, ".5": 0.5, "0": 0, "1e2": 100, "": None, "nan": None, "N/A": None,
    "-5": "unreadable", "$7 - $9": "unreadable", "12.9.9": "unreadable", "1,2,3": "unreadable", "10%": "unreadable",
    "free": "unreadable", "$": "unreadable", "1e400": "unreadable", "inf": "unreadable", "9" * 99: "unreadable",
    "١٬٢٣٤": "unreadable", "€ ١٢": "unreadable",
}  # fmt: skip


def read_prices(array: pa.Array) -> list[float | str | None]:
    found, unreadable = (column.to_pylist() for column in values.prices(array))
    return ["unreadable" if odd else price for price, odd in zip(found, unreadable, strict=True)]


def test_prices_are_read_with_currencies_and_both_commas_or_counted():
    assert dict(zip(PRICES, read_prices(texts(*PRICES)), strict=True)) == PRICES


@pytest.mark.parametrize("price", PRICES)
def test_a_price_reads_alike_alone_and_among_others(price: str):
    if price != "9" * 99:  # a whole column of numbers has no bound on their length
        assert read_prices(texts(price)) == [PRICES[price]]


def test_prices_of_numbers_are_not_negative():
    assert read_prices(pa.array([1.5, -1, float("nan"), float("inf"), None])) == [
        1.5, "unreadable", None, "unreadable", None,
    ]  # fmt: skip
