"""The closing tables of a run name the protocol, and list the best model first with all figures."""

from rich.console import Console

from pipeline.cli import closing
from pipeline.views.comparison import AUCS, LISTS


def found(pairs: int) -> dict:
    """A mode of three models: of two, `dvbpr` is better by AUC, `random` by NDCG@100; the third has all figures."""
    figures = {
        "dvbpr": {"auc": 0.75, "auc_ci95": [0.7, 0.8], "ndcg_at_100": 0.125, "cold_auc": None},
        "visual_neighbours_prior": dict.fromkeys(("auc", *AUCS, *LISTS), 0.111) | {"auc_ci95": [0.1, 0.2]},
        "random": {"auc": 0.5, "auc_ci95": [0.45, 0.55], "ndcg_at_100": 0.25, "warm_among_seen": 0.625},
    }
    models = {name: {"test": one, "validation": {"held_out": pairs}} for name, one in figures.items()}
    counts = {"users": 7, "items": 8, "item_images": 9}
    return {**counts, "protocol": "9 purchases are tested. Time-honest: yes [really].", "models": models}


def printed(pairs: int) -> str:
    console = Console(width=80, record=True)
    console.print(*closing.tables("vendor_all", found(pairs)), sep="\n")
    return console.export_text()


def test_the_closing_tables_show_every_figure_under_what_was_tested() -> None:
    text = printed(999)
    assert "(test); best AUC first\n9 purchases are tested. Time-honest: yes [really].\n" in text
    assert all(head in text for head in (*AUCS.values(), *LISTS.values()))
    assert text.index("dvbpr") < text.index("random")
    assert "0.750" in text and "0.625" in text and "None" not in text


def test_the_closing_tables_fit_into_a_terminal_of_80_characters() -> None:
    lines = printed(999).splitlines()
    assert not any("…" in line for line in lines)
    assert sum("visual_neighbours_prior" in line for line in lines) == 3


def test_with_a_thousand_validation_pairs_the_best_ndcg_comes_first() -> None:
    text = printed(1000)
    assert "best NDCG@100 first" in text and text.index("random") < text.index("dvbpr")


def test_the_generators_line_shows_figures_beside_real_pictures_and_what_was_not_judged() -> None:
    figures = {"judge_agreement": 0.5, "real_judge_agreement": 0.875, "pixel_recall": 0.25, "real_pixel_recall": 0.75}
    shared = {"kernel_efflite0_64px_n9": 3.0}
    generator = {"epochs": 2, **figures, "shared_features": shared, "notes": ["shoes is not judged [few]"]}
    summary = {"data": {}, "modes": {}, "generator": generator}
    assert list(closing.lines(summary | {"designs": None})) == [
        "generator: 2 epochs; judge_agreement 0.500 (real pictures 0.875), pixel_recall 0.250 (real pictures 0.750)",
        "[yellow]![/] generator: shoes is not judged \\[few]",
    ]
