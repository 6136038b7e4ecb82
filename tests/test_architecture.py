"""The layers hold: who may import whom, read from the source without running it, and the shape of the asset graph."""

import ast
import os
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[1]
SNAPSHOT = Path(__file__).parent / "pipeline" / "asset_graph.txt"
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, tuple[Path, ast.Module]]:
    """Every module of the product by its dotted name."""
    paths = [p for package in ("models", "pipeline", "benchmarks") for p in sorted((ROOT / package).rglob("*.py"))]
    assert len(paths) > 60
    return {name_of(path): (path, ast.parse(path.read_text(), str(path))) for path in paths}


def imports(name: str, lazy: bool = True, typing_only: bool = True) -> set[str]:
    """What a module imports, absolute; `from a import b` counts as a.b where that is a module, else as a.

    lazy: also inside functions. typing_only: also under `if TYPE_CHECKING`.
    """
    path, tree = modules()[name]
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, FUNCTIONS) and not lazy:
            return
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not typing_only:
            for other in node.orelse:
                visit(other)
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
                base = ".".join(package[: len(package) - node.level + 1] + ([base] if base else []))
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                found.add(whole if whole in modules() else base)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def offenders(package: str, forbidden) -> list[str]:
    return [
        f"{name} imports {imported}"
        for name in modules()
        if inside(name, package)
        for imported in sorted(imports(name))
        if forbidden(imported)
    ]


def test_models_import_torch_torchvision_numpy_and_the_standard_library_alone():
    # typing_extensions comes with torch; its Doc holds the help text of a setting.
    allowed = {"torch", "torchvision", "numpy", "typing_extensions", "models", *sys.stdlib_module_names}
    assert offenders("models", lambda imported: imported.split(".")[0] not in allowed) == []


def test_the_core_knows_neither_dagster_nor_mlflow():
    assert offenders("pipeline.core", lambda imported: imported.split(".")[0] in {"dagster", "mlflow"}) == []


def test_the_core_knows_nothing_of_the_orchestration_around_it():
    def outside(imported: str) -> bool:
        return inside(imported, "pipeline") and not inside(imported, "pipeline.core") and imported != "pipeline"

    assert offenders("pipeline.core", outside) == []


def test_mlflow_is_imported_where_it_is_tracked_registered_and_served_alone():
    importers = {line.split()[0] for line in offenders("pipeline", lambda i: inside(i, "mlflow"))}
    served = {"champions.served_recommender", "champions.served_generator"}
    registered = {"champions.model_registry", "champions.registered_generator", *served}
    of_mlflow = {"runtime.tracking", "upkeep.mlflow_records", *registered}
    assert importers == {f"pipeline.{name}" for name in of_mlflow}
    assert offenders("benchmarks", lambda imported: inside(imported, "mlflow")) == []


def test_mlflow_is_imported_only_inside_functions():
    for name in (
        "runtime.tracking",
        "upkeep.mlflow_records",
        "champions.model_registry",
        "champions.registered_generator",
    ):
        assert [i for i in imports(f"pipeline.{name}", lazy=False, typing_only=False) if inside(i, "mlflow")] == []


def test_ray_is_imported_by_the_engine_alone_and_only_when_it_is_asked_for():
    importers = offenders("pipeline", lambda i: inside(i, "ray")) + offenders("benchmarks", lambda i: inside(i, "ray"))
    assert importers == ["pipeline.core.engine imports ray"]
    assert not any(inside(i, "ray") for i in imports("pipeline.core.engine", lazy=False))


def test_the_served_model_needs_neither_dagster_nor_the_orchestration():
    def needed(name: str, seen: set[str]) -> set[str]:
        # What a recommender imports to train is inside its methods, and serving does not train.
        for imported in imports(name, lazy=not inside(name, "pipeline.recommenders")):
            if imported not in seen:
                seen.add(imported)
                if imported in modules():
                    needed(imported, seen)
        return seen

    whole = needed("pipeline.champions.served_recommender", set())
    assert not {name for name in whole if inside(name, "dagster")}
    allowed = ("pipeline.core", "pipeline.champions", "pipeline.recommenders")
    assert not {n for n in whole if inside(n, "pipeline") and not any(inside(n, a) for a in allowed)} - {"pipeline"}
    # MLflow runs it as a script that nobody imports.
    assert not offenders("pipeline", lambda imported: imported == "pipeline.champions.served_recommender")


def test_nothing_imports_the_assets_but_the_build():
    importers = {
        name
        for name in modules()
        if not inside(name, "pipeline.assets") and any(inside(i, "pipeline.assets") for i in imports(name))
    }
    assert importers == {"pipeline.build"}


def test_no_asset_module_imports_another():
    for name in modules():
        if inside(name, "pipeline.assets"):
            assert [i for i in imports(name) if inside(i, "pipeline.assets")] == [], name


def test_imports_have_no_cycles():
    # A package's __init__ runs before its modules, so importing a.b means importing a.
    graph = {}
    for name in modules():
        wanted = imports(name, lazy=False, typing_only=False)
        parents = {i.rsplit(".", n)[0] for i in wanted for n in range(1, i.count(".") + 1)}
        graph[name] = {i for i in wanted | parents if i in modules() and i != name and not inside(name, i)}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail("import cycle: " + " -> ".join(reversed(error.args[1])))
    assert set(order) == set(modules())


ROOMS_OF_MODELS = ("training", "data", "metrics")  # each may import those before it; the models are above them
MODELS_ROOMS = ("dvbpr", "modern", "baselines", "lsgan", "garments")


def room(name: str) -> str:
    """The room of a module: `models.dvbpr`, `pipeline.core`; a module in a package's root is a room of its own."""
    return ".".join(name.split(".")[:2])


def rooms() -> dict[str, set[str]]:
    """Every room, and the rooms that its modules import, inside functions too."""
    found: dict[str, set[str]] = {}
    for name in modules():
        if name not in ("models", "pipeline", "benchmarks"):
            known = {room(i) for i in imports(name) if i in modules() and "." in i}
            found.setdefault(room(name), set()).update(known - {room(name)})
    return found


def circle(of: dict[str, set[str]]) -> list[str]:
    """Find rooms that import each other in a circle, in the order of their imports; empty if there is none."""
    try:
        TopologicalSorter(of).prepare()
    except CycleError as error:
        return error.args[1][::-1]
    return []


def test_rooms_have_no_circle():
    assert circle({"a": {"b"}, "b": {"a"}}) != []
    assert circle(rooms()) == []


def test_the_rooms_of_models_import_only_downward():
    allowed = {f"models.{one}": {f"models.{o}" for o in ROOMS_OF_MODELS[:n]} for n, one in enumerate(ROOMS_OF_MODELS)}
    below = {f"models.{one}" for one in ROOMS_OF_MODELS}
    allowed |= {f"models.{one}": below for one in MODELS_ROOMS}
    allowed["models.design"] = below | {"models.lsgan", "models.garments"}
    found = {name: wanted for name, wanted in rooms().items() if name.startswith("models.")}
    assert set(found) == set(allowed)
    assert {name: wanted - allowed[name] for name, wanted in found.items() if wanted - allowed[name]} == {}


def test_the_pipelines_root_holds_its_entry_points_alone():
    in_root = {name for name, (path, _) in modules().items() if path.parent == ROOT / "pipeline"}
    assert in_root == {"pipeline", *(f"pipeline.{name}" for name in ("build", "definitions", "run", "ui"))}
    for name in ("run", "ui"):
        assert len((ROOT / "pipeline" / f"{name}.py").read_text().splitlines()) <= 10


def test_no_recommender_is_named_outside_its_room():
    from pipeline.recommenders.registry import RECOMMENDERS

    # Ops are named in the table of ops and by their Config classes. Some are presets too; a hold-out can be random.
    tables = {"pipeline.settings.ops", "pipeline.settings.launchpad"}
    homographs = {"paper", "kang2017", "modern", "random"}
    found = []
    for name, (_, tree) in modules().items():
        if inside(name, "pipeline") and not inside(name, "pipeline.recommenders") and name not in tables:
            named = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
            found += [f"{name}: {value!r}" for value in sorted(named & (set(RECOMMENDERS) - homographs))]
    assert found == []


# What takes long to load and no definition needs: seconds in every step's process, in the daemon, at every command.
NOT_TO_DEFINE = {
    "jinja2", "markdown_it", "matplotlib", "mlflow", "optuna", "pandas", "scipy", "sklearn", "timm", "torch",
    "torchvision",
}  # fmt: skip


def chain(start: str, package: str) -> list[str]:
    """The shortest way by which a module of ours brings a package where it is imported; empty: a library brings it."""
    ways = {start: [start]}
    for name in (queue := [start]):
        for imported in sorted(imports(name, lazy=False, typing_only=False) - set(ways)):
            ways[imported] = [*ways[name], imported]
            if inside(imported, package):
                return ways[imported]
            if imported in modules():
                queue.append(imported)
    return []


def test_the_definitions_load_without_what_takes_long(tmp_path: Path):
    command = "import sys, pipeline.definitions; print(*sys.modules)"
    variables = {**os.environ, "DAGSTER_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = [
        f"{package}: {' -> '.join(chain('pipeline.definitions', package)) or 'by a library that is imported'}"
        for package in sorted(NOT_TO_DEFINE & set(done.stdout.split()))
    ]
    assert not told, (
        "the definitions are loaded first by every step's process, the daemon and `dagster definitions validate`, and "
        "now bring with them what takes long to load. Import it in the function that computes with it (see "
        f"pipeline/assets/__init__.py), or put the settings into a module of their own:\n{chr(10).join(told)}"
    )


def test_annotations_are_real_where_dagster_reads_them():
    for name, (_, tree) in modules().items():
        if any(inside(i, "dagster") for i in imports(name)):
            futures = [n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == "__future__"]
            assert futures == [], f"{name}: dagster reads annotations; no `from __future__ import annotations`"


def test_every_module_says_what_it_is_for():
    assert [name for name, (_, tree) in modules().items() if not ast.get_docstring(tree)] == []


def asset_graph() -> str:
    """The graph as text: a line an asset, with its group, its partitioning and what it reads."""
    from pipeline.build import build_definitions

    graph = build_definitions().resolve_asset_graph()
    lines = []
    for key in sorted(graph.get_all_asset_keys()):
        node = graph.get(key)
        upstream = ", ".join(sorted(parent.to_user_string() for parent in node.parent_keys)) or "-"
        kind = "by image mode" if node.is_partitioned else "whole"
        lines.append(f"{key.to_user_string()} | {node.group_name} | {kind} | {upstream}")
    return "asset | group | partitioned | reads\n" + "\n".join(lines) + "\n"


def test_the_asset_graph_is_the_one_that_was_meant():
    graph = asset_graph()
    if os.environ.get("ATELIER_UPDATE_SNAPSHOT"):
        SNAPSHOT.write_text(graph)
    known = SNAPSHOT.read_text() if SNAPSHOT.is_file() else ""
    gone, new = set(known.splitlines()) - set(graph.splitlines()), set(graph.splitlines()) - set(known.splitlines())
    assert graph == known, (
        f"the asset graph changed; no longer there: {sorted(gone)}; new: {sorted(new)}. If it was meant: "
        f"ATELIER_UPDATE_SNAPSHOT=1 pytest {Path(__file__).relative_to(ROOT)}, and commit {SNAPSHOT.relative_to(ROOT)}"
    )


@cache
def tracked() -> dict[str, str]:
    """The text of every file in git; bytes that are no text are read as Latin-1."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is no list of files")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    paths = [ROOT / name for name in listed.split("\0") if name]
    return {str(p.relative_to(ROOT)): p.read_bytes().decode("latin-1") for p in paths if p.is_file()}


def naming(patterns: list[str]) -> list[str]:
    """`file: match` for every file that holds one of the patterns."""
    together = re.compile("|".join(patterns), re.IGNORECASE)
    return [f"{name}: {match.group()!r}" for name, text in tracked().items() if (match := together.search(text))]


# The patterns are put together here, so that this file does not hold what it looks for.
def test_no_file_names_the_place_it_was_made_in():
    place = r"(?<![\w.~}])/" + "work" + r"/(main|shared|contracts|data|\.)"
    library = r"\." + "library" + r"\b"
    assert naming([place, library]) == []


def test_no_file_names_a_package_registry():
    hosts = [r"py" + r"pi\.", "python" + r"hosted\.", r"download\.py" + r"torch\.", r"anaconda\." + "(org|com)"]
    hosts += [r"--(extra-)?index" + r"-url[ =]", r"find" + "-links[ =]"]
    for variable in ("PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX"):
        host = urlsplit(os.environ.get(variable, "")).hostname
        hosts += [re.escape(host)] if host else []
    assert naming(hosts) == []
