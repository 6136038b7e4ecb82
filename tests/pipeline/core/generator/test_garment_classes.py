"""Test the built-in garment classes, a user's own file, and the errors of an invalid file."""

from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.core import schemas
from pipeline.core.errors import InputError
from pipeline.core.generator.categories import garment_class, map_products
from pipeline.core.generator.garment_classes import (
    BUILT_IN,
    RULES_FILE,
    Rules,
    built_in,
    carrying,
    classes_of,
    load_rules,
)

DRESSES = """
extends = "built-in"
[classes.women_dresses]
gender = "women"
kind = "dresses"
[kinds.dresses]
words = ["dress", "shirt dress", "gown"]
"""
TITLES = ["Women's Floral Dress", "Ladies Shirt Dress", "Women's Dress Shirt", "Women's Sweater Dress", "Men's Watch"]
WHOLE = """
[classes.men_hats]
gender = "men"
kind = "hats"
[genders]
men = ["men", "mens"]
[kinds.hats]
words = ["hat", "cap"]
"""


@pytest.fixture
def write(tmp_path: Path):
    def make(text: str) -> Path:
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return make


def read(rules: Rules, *titles: str) -> list[str | None]:
    return [garment_class([], title, rules) for title in titles]


def test_the_built_in_classes_have_their_fixed_order():
    assert built_in().names == ("women_tops", "women_pants", "women_shoes", "men_tops", "men_pants", "men_shoes")


def test_six_lines_add_a_class_after_the_built_in_ones(write):
    rules = load_rules(write(DRESSES))
    assert rules.names == (*built_in().names, "women_dresses")
    # The longest words still win: a shirt stays a shirt, and other words are still no garments.
    assert read(rules, *TITLES) == ["women_dresses", "women_dresses", "women_tops", None, None]
    assert read(built_in(), *TITLES) == [None, None, "women_tops", None, None]


def test_a_products_table_gets_the_users_class(write):
    empty = {"categories": [], "vendor_urls": [], "vendor_urls_high": []}
    products = pa.Table.from_pylist(
        [{"asin": str(n), "title": title, **empty} for n, title in enumerate(TITLES)], schema=schemas.PRODUCTS
    )
    mapped = map_products(products, load_rules(write(DRESSES)))
    assert mapped["garment_class"].to_pylist() == ["women_dresses", "women_dresses", "women_tops", None, None]
    assert classes_of(mapped, "products")[-1] == "women_dresses"


def test_words_that_a_file_lists_move_and_are_reported(write):
    assert load_rules(write(DRESSES)).moved == dict.fromkeys(("dress", "shirt dress", "gown"), "kinds.other")
    boots = DRESSES.replace("dresses", "boots").replace('["dress", "shirt dress", "gown"]', '["boot", "ankle boot"]')
    rules = load_rules(write(boots))
    assert rules.moved == dict.fromkeys(("boot", "ankle boot"), "kinds.shoes")
    assert read(rules, "Women's Ankle Boots", "Women's Shoes") == ["women_boots", "women_shoes"]
    assert built_in().moved == {} and read(built_in(), "Women's Ankle Boots") == ["women_shoes"]


def test_a_moved_word_no_longer_vetoes_a_category_path(write):
    swim = DRESSES.replace("dresses", "swim").replace('["dress", "shirt dress", "gown"]', '["bikini", "swimsuits"]')
    path = ["Women", "Swimsuits", "Bikinis"]
    assert garment_class(path, "", built_in()) is None
    assert garment_class(path, "", load_rules(write(swim))) == "women_swim"


def test_words_added_to_a_built_in_kind_join_it_and_a_class_of_the_same_name_is_replaced(write):
    rules = load_rules(write('extends = "built-in"\n[kinds.tops]\nwords = ["bralette"]\n'))
    assert read(rules, "Women's Bralette", "Women's Blouse") == ["women_tops", "women_tops"]
    assert rules.names == built_in().names
    replaced = DRESSES.replace("women_dresses", "women_tops")
    assert read(load_rules(write(replaced)), "Women's Dress", "Women's Blouse") == ["women_tops", None]


def test_genders_and_implied_genders_can_be_added(write):
    text = DRESSES + '[genders]\nwomen = ["senora"]\n[implied]\nwomen = ["gown"]\n'
    assert read(load_rules(write(text)), "Senora Dress", "Silk gown") == ["women_dresses", "women_dresses"]


def test_a_file_without_extends_replaces_the_built_in_rules(write):
    rules = load_rules(write(WHOLE))
    assert rules.names == ("men_hats",)
    assert read(rules, "Men's caps", "Men's shirt", "hat") == ["men_hats", None, None]
    assert load_rules(RULES_FILE).digest == built_in().digest


def test_the_digest_depends_on_the_rules_and_not_on_their_spelling(write):
    digest = load_rules(write(DRESSES)).digest
    assert load_rules(write("# a note\n" + DRESSES.replace('["dress", ', '[ "dress",  '))).digest == digest
    others = [DRESSES.replace(', "gown"', ""), DRESSES.replace("women_dresses", "women_gowns")]
    two = WHOLE + '[classes.men_caps]\ngender = "men"\nkind = "caps"\n[kinds.caps]\nwords = ["beret"]\n'
    caps, hats = two.index("[classes.men_caps]"), two.index("[genders]")
    turned = two[caps : two.index("[kinds.caps]")] + two[:hats] + two[hats:caps] + two[two.index("[kinds.caps]") :]
    digests = [load_rules(write(text)).digest for text in (*others, two, turned)]
    assert len({digest, built_in().digest, *digests}) == 6  # the order of the classes is their numbers


def test_a_file_is_read_again_each_time(write):
    first = load_rules(write(WHOLE)).digest
    assert load_rules(write(WHOLE.replace(', "cap"', ""))).digest != first


@pytest.mark.parametrize(
    ("change", "key", "remedy"),
    [
        (('extends = "built-in"', 'extends = "mine"'), "extends is 'mine'", 'write extends = "built-in"'),
        (('extends = "built-in"', ""), "[genders] is missing", "as the first line"),
        (("[kinds.dresses]", "[kind.dresses]"), "unknown key kind;", "classes, genders, implied, kinds"),
        (("[kinds.dresses]", "[categories]"), "unknown key categories.words", "ignored, vetoed, words_at_most"),
        (("[kinds.dresses]", "[genders]"), "classes.women_dresses.kind is 'dresses'", "add [kinds.dresses] words"),
        (('gender = "women"', 'gender = "girls"'), "classes.women_dresses.gender is 'girls'", "women, men"),
        (('gender = "women"', 'gender = "youth"'), "classes.women_dresses.gender is 'youth'", "women, men"),
        (('kind = "dresses"', 'kind = "other"'), "classes.women_dresses.kind is 'other'", "tops, pants, shoes"),
        (('gender = "women"', ""), "[classes.women_dresses]", "must hold gender"),
        (('gender = "women"', "gender = 3"), "[classes.women_dresses]", "must hold gender"),
        (('kind = "dresses"', 'kind = "tops"'), "classes.women_dresses and classes.women_tops", "keep one"),
        (("[classes.women_dresses]", "[classes.Dresses]"), "[classes.Dresses]", "lower-case"),
        (("[classes.women_dresses]", "[classes.none]"), "[classes.none]", "are taken"),
        (('"gown"', '"Ball-Gown"'), "kinds.dresses.words: 'Ball-Gown'", "write 'ball gown'"),
        (('["dress", "shirt dress", "gown"]', "[]"), "kinds.dresses.words is []", "a list of words"),
        (('["dress", "shirt dress", "gown"]', '"dress"'), "kinds.dresses.words is 'dress'", "a list of words"),
        (("[kinds.dresses]", '[kinds.gowns]\nwords = ["gown"]\n[kinds.dresses]'), "'gown' is listed under both",
         "keep one"),
        (("[kinds.dresses]", '[kinds.hats]\nwords = ["hat"]\n[kinds.dresses]'), "kinds.hats is the kind of no class",
         "add [classes.NAME]"),
        (("[kinds.dresses]", '[implied]\nladies = ["sari"]\n[kinds.dresses]'), "implied.ladies is no gender",
         "women, men"),
        (("[kinds.dresses]", "[categories]\nwords_at_most = 'x'\n[kinds.dresses]"), "categories.words_at_most is 'x'",
         "a number"),
        (("[kinds.dresses]", "[kinds.dresses"), "not TOML", "line 6"),
    ],
)  # fmt: skip
def test_an_invalid_rule_is_named_with_file_key_and_remedy(write, change, key: str, remedy: str):
    path = write(DRESSES.replace(*change))
    with pytest.raises(InputError) as caught:
        load_rules(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ") and key in said and remedy in said, said


def test_a_missing_file_is_named_with_the_setting_of_its_path(tmp_path: Path):
    with pytest.raises(InputError, match=r"nowhere\.toml: .*ATELIER_CLASSES or ops\.ingest\.config\.classes"):
        load_rules(tmp_path / "nowhere.toml")


def test_a_table_carries_its_classes_through_filters_and_joins_and_one_without_says_what_to_do():
    table = carrying(pa.table({"asin": ["1", "2"], "garment_class": ["b", None]}), ["b", "a"])
    assert classes_of(table.filter(table["garment_class"].is_valid()).select(["asin"]), "products") == ("b", "a")
    with pytest.raises(InputError, match="materialise products again"):
        classes_of(table.replace_schema_metadata(None), "products")


def test_the_documents_example_works(write):
    readme = (Path(__file__).parents[4] / "docs/configuration.md").read_text()
    start = readme.index(f'extends = "{BUILT_IN}"')
    shown = readme[start : readme.index("```", start)]
    assert len([line for line in shown.splitlines() if line.strip()]) == 6
    assert load_rules(write(shown)).names == (*built_in().names, "women_dresses")
