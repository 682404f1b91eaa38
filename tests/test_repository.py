"""What the repository says about itself must be true: lists that repeat each other, documents, notebooks, layout."""

import ast
import dataclasses
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jupytext
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from diffsasrec.decoding import DecodeConfig
from diffsasrec.models import MODELS
from diffsasrec.models.embedding_diffusion import EmbeddingDiffusion
from diffsasrec.training import TrainConfig
from workbench.recipes import recipe

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {name: lines for name, lines in PROJECT["optional-dependencies"].items() if name != "all"}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MODULES = sorted(
    path.relative_to(ROOT).as_posix()
    for package in ("diffsasrec", "workbench")
    for path in (ROOT / package).rglob("*.py")
)
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
GENERATED = {".git", ".venv", "runs", "data", "build", "dist", "test-results", "__pycache__"}
TEXT_SUFFIXES = {
    ".py",
    ".md",
    ".toml",
    ".yml",
    ".yaml",
    ".txt",
    ".ipynb",
    ".json",
    ".cff",
    ".js",
    ".css",
    ".html",
}


def every_requirement() -> list[str]:
    return sorted(PROJECT["dependencies"] + [line for lines in EXTRAS.values() for line in lines])


def text_files() -> list[Path]:
    return [
        path
        for path in sorted(ROOT.rglob("*"))
        if (path.suffix in TEXT_SUFFIXES or path.name in {"Makefile", "run"})
        and path.is_file()
        and not any(part in GENERATED or part.endswith("_cache") for part in path.relative_to(ROOT).parts)
    ]


# dependencies


def test_conda_gets_the_same_packages_as_pip():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    from_pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    requirements = [line for line in from_pip if not line.startswith("-")]
    assert {line for line in from_pip if line.startswith("-")} == {"-c constraints.txt", "-e ."}
    assert sorted(requirements) == sorted(set(every_requirement()))


def test_conda_gets_the_same_python_as_pip():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert f"python{PROJECT['requires-python']}" in environment["dependencies"]


def test_the_extra_all_is_every_other_extra():
    (line,) = PROJECT["optional-dependencies"]["all"]
    requirement = Requirement(line)
    assert requirement.name == PROJECT["name"]
    assert requirement.extras == set(EXTRAS)


def test_every_dependency_has_one_pin_that_it_allows():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    names = [canonicalize_name(pin.name) for pin in pins]
    assert len(names) == len(set(names))
    versions = {}
    for pin in pins:
        (specifier,) = pin.specifier
        assert specifier.operator == "==", f"{pin} is not an exact version"
        assert "+" not in specifier.version, f"{pin} fits one build only"
        versions[canonicalize_name(pin.name)] = specifier.version
    for requirement in map(Requirement, every_requirement()):
        assert requirement.specifier.contains(versions[canonicalize_name(requirement.name)]), requirement


def test_the_core_imports_with_nothing_but_its_four_dependencies():
    core = {Requirement(line).name for line in PROJECT["dependencies"]}
    others = {Requirement(line).name for lines in EXTRAS.values() for line in lines} - core
    modules = [name[:-3].replace("/", ".") for name in MODULES if name.startswith("diffsasrec/")]
    program = f"""
import importlib, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {sorted(name.replace("-", "_") for name in others)} + ["workbench", "yaml", "IPython"]:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Refuse())
for name in {[name.removesuffix(".__init__") for name in modules]}:
    importlib.import_module(name)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


# documents


def test_the_layout_names_every_module_and_nothing_that_is_not_there():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    layout = text.split("## Layout")[1].split("```")[1]
    named, planned = set(), set()
    folders: list[str] = []
    for line in layout.splitlines():
        entry = re.match(r"( *)([\w.<>/-]+)(?: +~\S+)?(?: {2,}|$| )(.*)", line)
        if entry is None or len(entry[1]) > 4:
            continue  # the continuation of a description
        depth = len(entry[1]) // 2
        path = "/".join([*folders[:depth], entry[2].rstrip("/")])
        if entry[2].endswith("/"):
            folders[depth:] = [entry[2].rstrip("/")]
        (planned if entry[3].startswith("planned") else named).add(path)
    listed_folders = {path for path in named if (ROOT / path).is_dir()}
    wholesale = {"workbench/datasets", "workbench/views"}
    modules = {name for name in MODULES if not any(name.startswith(f"{folder}/") for folder in wholesale)}
    modules -= {"diffsasrec/__init__.py", "workbench/__init__.py"}
    assert modules - named == set(), "modules that docs/architecture.md does not list"
    assert {path for path in named - listed_folders if not (ROOT / path).exists()} == set(), (
        "listed, not there"
    )
    assert {path for path in planned if (ROOT / path).exists()} == set(), "marked as planned, and there"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_inside_the_documents_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_documents_name_only_commands_that_make_has():
    known = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        named = set(re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE))
        assert named <= known, f"{document.name} names {named - known}"


def test_the_page_on_usage_names_every_model_and_those_that_diffuse_embeddings_last():
    text = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8")
    (line,) = re.findall(
        r"^Models: ([^.]+)\. Those from `diffurec` on diffuse embeddings", text, re.MULTILINE
    )
    named = re.findall(r"`(\w+)`", line)
    diffusing = [name for name, (_, model) in MODELS.items() if issubclass(model, EmbeddingDiffusion)]
    assert sorted(named) == sorted(MODELS)
    assert sorted(named[named.index("diffurec") :]) == sorted(diffusing)


def test_the_table_for_newcomers_names_settings_that_exist():
    table = (ROOT / "docs" / "from_main_py.md").read_text(encoding="utf-8")
    script = (ROOT / "notebooks" / "02_train.py").read_text(encoding="utf-8")
    parameters = set(re.findall(r"^(\w+): .+ = ", script, re.MULTILINE)) | {"run"}
    settings = {field.name for cls in (TrainConfig, DecodeConfig) for field in dataclasses.fields(cls)}
    named = {
        name
        for names in re.findall(r"parameters? ((?:`\w+`(?:, )?)+)", table)
        for name in re.findall(r"\w+", names)
    }
    assert len(named) > 10
    assert named <= parameters
    assert set(re.findall(r"--set (\w+)=\d", table)) <= settings


def test_the_table_for_newcomers_tells_the_defaults_of_the_recipe():
    table = (ROOT / "docs" / "from_main_py.md").read_text(encoding="utf-8")
    config = recipe("ml-1m", "diffsasrec")
    defaults = {
        **dataclasses.asdict(DecodeConfig()),
        **config.model_config,
        **dataclasses.asdict(config.train),
        **dataclasses.asdict(config.split),
        "split": config.split.name,
    }
    words = {"on": True, "none": None}
    told = {}
    for row in re.findall(r"^\| [`\d].*", table, re.MULTILINE):
        _, _theirs, _default, here, default, *_ = (cell.strip() for cell in row.split("|"))
        names = re.findall(r"(?:(?<=parameter `)|(?<=parameters `)|(?<=, `)|(?<=--set ))\w+", here)
        values = [value.strip("` ") for value in default.split(",")] if default else []
        told |= zip(names, values, strict=bool(values))
    told = {name: value for name, value in told.items() if name in defaults}
    assert len(told) > 15
    for name, value in told.items():
        default = defaults[name]
        told_default = value if isinstance(default, str) else words[value] if value in words else float(value)
        assert told_default == default, name


def test_no_file_names_a_path_of_somebodys_machine():
    machine_path = re.compile(r"(?<![\w.:/-])/(?:home|root|Users|work|opt|mnt)/[\w.]+")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in text_files()
        if path != Path(__file__).resolve()
        for match in machine_path.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


# style that no linter checks


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("diffsasrec/")])
def test_a_core_module_has_250_lines_at_most(module):
    num_lines = (ROOT / module).read_text(encoding="utf-8").count("\n")
    assert num_lines <= 250


def length_without_docstring(function):
    is_documented = ast.get_docstring(function) is not None
    docstring = function.body[0].end_lineno - function.body[0].lineno + 1 if is_documented else 0
    return function.end_lineno - function.lineno + 1 - docstring


def test_a_function_has_60_lines_at_most_beside_its_docstring():
    too_long = [
        f"{module}: {node.name} has {length_without_docstring(node)}"
        for module in MODULES
        for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and length_without_docstring(node) > 60
    ]
    assert too_long == []


def test_every_module_has_a_test_file_of_its_own_or_of_its_folder():
    half_of = {
        "rules": "decoding",
        "predictions": "decoding",
        "block": "backbone",
        "objectives": "training",
        "kernels": "batch",
        "workers": "batch",
        "judging": "evaluation",
        "training_records": "training",
        "toy_titles": "toy",
    }  # one thing, two files
    missing = []
    for path in map(Path, MODULES):
        path = path.with_stem(half_of.get(path.stem, path.stem))
        own = ROOT / "tests" / path.parent / f"test_{path.name}"
        of_the_folder = ROOT / "tests" / path.parent.parent / f"test_{path.parent.name}.py"
        if path.name != "__init__.py" and not own.exists() and not of_the_folder.exists():
            missing.append(path.as_posix())
    assert missing == []


def test_the_dashboard_page_imports_streamlit_and_views_alone():
    tree = ast.parse((ROOT / "dashboard.py").read_text(encoding="utf-8"))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    allowed = re.compile(r"__future__|streamlit|workbench\.views(\..*)?|pathlib|sys")
    assert {name for name in imported if not allowed.fullmatch(name)} == set()


# notebooks


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    for cell in notebook["cells"]:
        assert "".join(cell["source"]).strip(), "an empty cell"
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            assert not {"papermill", "execution"} & set(cell["metadata"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_and_its_script_hold_the_same_cells(path):
    def cells(notebook):
        return [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in notebook.cells]

    script = path.with_suffix(".py")
    assert script.exists(), f"{path.name} has no paired {script.name}: run `make notebooks`"
    assert cells(jupytext.read(path)) == cells(jupytext.read(script)), "they differ: run `make notebooks`"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_one_parameters_cell_with_a_type_and_a_comment_for_each(path):
    notebook = jupytext.read(path)
    (source,) = [cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    for line in source.splitlines():
        if line.strip() and not line.startswith(("#", "from ", "import ")):
            assert re.fullmatch(r"\w+: [^=]+ = .+  # .+", line), f"no type or no comment: {line}"
            assert line.count("=") == 1, (
                f"papermill does not know a parameter whose line has another =: {line}"
            )


def test_no_script_beside_the_notebooks_lacks_its_notebook():
    scripts = {path.stem for path in (ROOT / "notebooks").glob("*.py")}
    assert scripts == {path.stem for path in NOTEBOOKS}


# what a submission must pass


def run_skips(tmp_path, reason, **environment):
    report = tmp_path / "junit.xml"
    report.write_text(
        "<testsuites><testsuite>"
        f'<testcase classname="tests.test_x" name="test_y"><skipped type="pytest.skip" message="{reason}"/></testcase>'
        '<testcase classname="tests.test_x" name="test_z"/></testsuite></testsuites>',
        encoding="utf-8",
    )
    command = [sys.executable, ROOT / ".ci" / "skips.py", report]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize("reason", ["needs Chromium", "could not import 'plotly'", ""])
def test_a_skipped_test_fails_a_submission(tmp_path, reason):
    done = run_skips(tmp_path, reason)
    assert done.returncode == 1
    assert "tests.test_x::test_y" in done.stderr


def test_a_test_that_needs_data_may_be_skipped_only_where_the_data_is_missing(tmp_path):
    (tmp_path / "ml-1m").mkdir()
    assert run_skips(tmp_path, "needs DIFFSASREC_DATA/ml-1m").returncode == 0
    assert run_skips(tmp_path, "needs DIFFSASREC_DATA/ml-20m", DIFFSASREC_DATA=str(tmp_path)).returncode == 0
    assert run_skips(tmp_path, "needs DIFFSASREC_DATA/ml-1m", DIFFSASREC_DATA=str(tmp_path)).returncode == 1


def test_a_submission_without_a_report_of_its_tests_fails(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "skips.py", tmp_path / "none.xml"], capture_output=True
    )
    assert done.returncode == 1
