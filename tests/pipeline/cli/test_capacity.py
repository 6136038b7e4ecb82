"""The estimates against hand-computed values, and docs/capacity.md against the command's output."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.cli.capacity import SHOPS, Machine, Rates, Workload, bottlenecks, main, stages

PAGE = Path(__file__).parents[3] / "docs" / "capacity.md"
SHOP = Workload("a", reviews=1000, products=100, users=10, items=20, interactions=50, pictures=80)
RATES = Rates(reviews_a_second=500, pictures_a_second=2, answer_seconds=0.5, per_host=4, side=2, epochs=3)


def test_each_stage_follows_its_formula():
    found = {stage.name: stage for stage in stages(SHOP, RATES, Machine(workers=3))}
    assert found["reviews, 5-core"].seconds == 2
    assert found["reviews, 5-core"].memory == 300e6 + 60 * 50
    assert found["fetch, one host"].seconds == 80 / 6  # three workers; the host would give eight a second
    assert found["bank"].disk == 80 * 2 * 2 * 3
    assert found["dvbpr (GPU)"].seconds == pytest.approx(2 * 3 * 50 * 4 / 425)
    assert [stage.gpu for stage in found.values()].count(True) == 1


def test_more_workers_do_not_make_a_host_faster():
    def seconds(workers: float) -> float:
        return next(stage.seconds for stage in stages(SHOP, RATES, Machine(workers=workers)) if "fetch" in stage.name)

    assert seconds(4) == seconds(400) == 80 / 8


def test_the_bottleneck_depends_on_the_machine():
    largest = SHOPS[-1]
    found = bottlenecks(stages(largest, Rates(), Machine()), Machine())
    assert found.startswith("The disk is full first: bank needs 7.2 times its size.")
    roomy = Machine(disk=1e15)
    found = bottlenecks(stages(largest, Rates(), roomy), roomy)
    assert found.startswith("Everything fits: the largest share is 0.9 of the memory, for fetch, one host.")
    small = replace(Rates(), side=64)
    assert "for fetch, one host." in bottlenecks(stages(largest, small, Machine()), Machine())


def test_the_rates_are_those_of_docs_speed():
    page = PAGE.with_name("speed.md").read_text()

    def measured(pattern: str) -> float:
        found = re.search(rf"^\| {pattern}", page, re.MULTILINE)
        assert found, pattern
        return float(found[1].replace(",", ""))

    assert Rates().reviews_a_second == pytest.approx(
        1e6 / measured(r"`prepare`: 1M reviews.*?\| ([\d.]+) s,"), rel=0.02
    )
    assert Rates().pictures_a_second == measured(r"`download`.*?\| ([\d,]+) pictures/s")
    assert Rates().decoded_a_second == measured(r"`decode`.* two cores \| ([\d,]+)/s") / 2
    assert Rates().pairs_a_second == measured(r"`evaluate`.*?\| ([\d,]+) M pairs/s") * 1e6


def test_docs_capacity_quotes_the_command(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 0
    quoted = re.search(r"<!-- begin.*?-->\n(.*)<!-- end -->", PAGE.read_text(), re.DOTALL)
    assert quoted
    assert quoted[1] == capsys.readouterr().out


def test_arguments_describe_a_shop_of_the_readers_own(capsys: pytest.CaptureFixture[str]):
    assert main(["--reviews", "2e6", "--memory", "1e9"]) == 0
    output = capsys.readouterr().out
    assert output.count("The longest stage is") == 1
    assert "**yours**: 2 M reviews" in output
    with pytest.raises(SystemExit) as ended:
        main(["--pictures", "-1"])
    assert ended.value.code == 2
    assert "pictures: must be above 0" in capsys.readouterr().err
