"""The documentation agrees with the repository: links, commands, options, paths and keys exist."""

import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from command_lines import dvc_problem, latentlab_problem, make_problem, split_commands
from latentlab.gate.baseline import read_baseline
from latentlab.params.fields import flatten
from latentlab.params.schema import Params

ROOT = Path(__file__).parents[1]
LISTED = subprocess.run(
    ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
)
PAGES = [ROOT / name for name in sorted(LISTED.stdout.split("\0")) if (ROOT / name).is_file()]
DECISIONS = [path for path in PAGES if re.match(r"\d{4}-", path.name)]
WITH_OLD_NAMES = {ROOT / "CHANGELOG.md", *DECISIONS}
"""Pages that may name keys and paths that no longer exist."""
CREATED_IN_GUIDES = {
    "src/latentlab/models/sparse.py",
    "src/latentlab/stages/sparse.py",
    "tests/models/test_sparse.py",
}
"""Files that a reader of the how-to guides creates."""

OF_OTHER_PROJECTS = {
    "DaskCluster",
    "ReadWriteMany",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
}

REFERENCE = runpy.run_path(str(ROOT / "scripts" / "generate_reference.py"))
MAX_LINES_README = 150
MAX_LINES_DECISION = 25

BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
PLACEHOLDER = re.compile(r"<[^>]+>")


def text_of(page):
    """Return a page without its code blocks."""
    return BLOCK.sub("", page.read_text())


def shell_commands(page):
    """Return the commands of the shell blocks of a page as lists of words."""
    blocks = [body for language, body in BLOCK.findall(page.read_text()) if language == "sh"]
    return split_commands(PLACEHOLDER.sub("x", "\n".join(blocks)))


def inline_commands(page):
    """Return the commands in the text of a page as lists of words."""
    texts = [PLACEHOLDER.sub("x", text) for text in INLINE.findall(text_of(page))]
    commands = [part for text in texts for part in text.split("&&")]
    return [shlex.split(text) for text in commands if re.match(r" *(latentlab|dvc|make) \S", text)]


def commands_of(program):
    """Return (page, words after the program, whether from a shell block) for every command."""
    found = []
    for page in PAGES:
        for commands, in_block in ((shell_commands(page), True), (inline_commands(page), False)):
            for words in commands:
                if words[0] == "torchrun" and "latentlab" in words:
                    words = words[words.index("latentlab") :]
                if words[0] == program:
                    found.append((page.relative_to(ROOT), words[1:], in_block))
    return found


def anchors(page):
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = [re.sub(r"[^\w\- ]", "", h.lower()) for h in HEADING.findall(text_of(page))]
    return {heading.replace(" ", "-") for heading in headings}


def test_every_relative_link_and_anchor_resolves():
    broken = []
    for page in PAGES:
        for link in LINK.findall(text_of(page)):
            path, _, anchor = link.partition("#")
            if path.startswith(("http://", "https://")):
                continue
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"{page.relative_to(ROOT)}: {link}")

    assert broken == []


def test_every_latentlab_command_exists_with_its_options():
    commands = [
        (page, words, in_block)
        for page, words, in_block in commands_of("latentlab")
        if words[0] not in ("--help", "--version", "-h")
    ]
    problems = [
        f"{page}: {problem}"
        for page, words, in_block in commands
        if (problem := latentlab_problem(words, complete=in_block))
    ]

    assert len(commands) > 40
    assert problems == []


def test_every_dvc_command_exists_with_its_options():
    commands = commands_of("dvc")
    problems = [
        f"{page}: {problem}" for page, words, _ in commands if (problem := dvc_problem(words))
    ]

    assert len(commands) > 30
    assert problems == []


def test_every_make_target_exists():
    commands = commands_of("make")
    problems = [
        f"{page}: {problem}" for page, words, _ in commands if (problem := make_problem(words))
    ]

    assert len(commands) > 10
    assert problems == []


def test_every_path_in_the_text_exists():
    folders = {"src", "docs", "tests", "scripts", "profiles", "baselines", "benchmarks", ".github"}
    package = ROOT / "src" / "latentlab"
    packages = {path.name for path in package.iterdir() if path.is_dir()}
    missing = []
    for page in PAGES:
        for token in INLINE.findall(text_of(page)):
            first = token.partition("/")[0]
            if not re.fullmatch(r"[\w./-]+", token) or "/" not in token:
                continue
            in_package = first in packages and token.endswith(".py")
            if page in WITH_OLD_NAMES or token in CREATED_IN_GUIDES:
                continue
            base = package if in_package else ROOT
            if (in_package or first in folders) and not (base / token).exists():
                missing.append(f"{page.relative_to(ROOT)}: {token}")

    assert missing == []


def test_every_page_that_the_code_names_exists():
    command = [
        "git",
        "grep",
        "-nIoE",
        r"docs/[a-zA-Z0-9/-]+\.md",
        "--",
        "*.py",
        "*.yaml",
        "Makefile",
    ]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    lines = found.stdout.splitlines()

    assert [line for line in lines if not (ROOT / line.rpartition(":")[2]).exists()] == []


def test_every_name_of_the_code_in_the_text_exists():
    sources = [
        path
        for name in ("src", "tests", "scripts", "benchmarks")
        for path in (ROOT / name).rglob("*.py")
    ]
    words = set(re.findall(r"\w+", "\n".join(path.read_text() for path in sources)))
    name = re.compile(r"_\w+|[A-Z]+(?:_[A-Z]+)+|[A-Z]\w+(?:\.\w+)?")
    missing = [
        f"{page.relative_to(ROOT)}: {token}"
        for page in set(PAGES) - WITH_OLD_NAMES
        for token in INLINE.findall(text_of(page))
        if name.fullmatch(token) and token not in OF_OTHER_PROJECTS
        if not words.issuperset(token.split("."))
    ]

    assert missing == []


def test_the_example_report_and_explorer_are_small():
    sizes = {path.name: path.stat().st_size / 1e6 for path in (ROOT / "docs" / "example").iterdir()}

    assert sizes["explorer.html"] < 6
    assert sum(sizes.values()) < 8


def test_the_model_of_the_guides_works_and_their_stage_can_be_imported(monkeypatch, tmp_path):
    guides = {name: ROOT / "docs" / "how-to" / f"{name}.md" for name in ("new-model", "new-stage")}
    blocks = {
        name: [body for language, body in BLOCK.findall(page.read_text()) if language == "python"]
        for name, page in guides.items()
    }
    module = ModuleType("latentlab.models.sparse")
    exec(blocks["new-model"][0], vars(module))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    tests = runpy.run_path(str(_written(tmp_path / "test_sparse.py", blocks["new-model"][2])))
    tests["test_the_loss_is_the_mse_plus_the_weighted_l1_norm_of_the_code"]()
    tests["test_a_stored_model_returns_the_same_output"](tmp_path)

    stage = runpy.run_path(str(_written(tmp_path / "sparse.py", blocks["new-stage"][1])))
    assert callable(stage["run"])


def _written(path, text):
    path.write_text(text)
    return path


SCHEMA = Params.model_json_schema()


def is_parameter(path):
    """Return whether a dotted path is a parameter or a section of params.yaml."""
    nodes = [SCHEMA]
    for name in path.split("."):
        nodes = [found for node in nodes for found in _below(node, name.partition("[")[0])]
    return bool(nodes)


def _below(node, name):
    if "$ref" in node:
        yield from _below(SCHEMA["$defs"][node["$ref"].rpartition("/")[2]], name)
    for alternative in [*node.get("anyOf", []), *node.get("oneOf", []), *node.get("allOf", [])]:
        yield from _below(alternative, name)
    if name in node.get("properties", {}):
        yield node["properties"][name]
    else:  # a mapping with keys of any name
        values = [node.get("additionalProperties"), *node.get("patternProperties", {}).values()]
        yield from (value for value in values if isinstance(value, dict))


def is_module(path):
    """Return whether a dotted path is a module of the package, such as `data.corruption`."""
    return (ROOT / "src" / "latentlab" / path.replace(".", "/")).with_suffix(".py").exists()


def test_every_parameter_in_the_text_and_in_commands_exists():
    sections = "|".join(Params.model_fields)
    key = re.compile(rf"(?:{sections})\.(?!py\b|dvc\b|yaml\b|db\b|md\b|json\b)[\w.<>\[\]]+")
    missing = []
    for page in set(PAGES) - WITH_OLD_NAMES:
        names = [token.partition(":")[0] for token in INLINE.findall(text_of(page))]
        names += re.findall(r"-S '?([\w.]+)=", page.read_text())
        missing += [
            f"{page.relative_to(ROOT)}: {name}"
            for name in names
            if key.fullmatch(name) and not (is_parameter(name) or is_module(name))
        ]

    assert sorted(missing) == []


def test_the_readme_and_decisions_are_short():
    lengths = {
        path: len(path.read_text().splitlines()) for path in [ROOT / "README.md", *DECISIONS]
    }
    limits = dict.fromkeys(DECISIONS, MAX_LINES_DECISION) | {ROOT / "README.md": MAX_LINES_README}

    assert {path.name: n for path, n in lengths.items() if n > limits[path]} == {}


def test_every_decision_has_its_three_parts_and_is_listed():
    listed = (ROOT / "docs" / "adr" / "README.md").read_text()
    sections = ["Context", "Decision", "Consequences"]

    assert len(DECISIONS) > 50
    for path in DECISIONS:
        title, *found = HEADING.findall(path.read_text())
        assert found == sections, path.name
        assert f"| [{path.name[:4]}]({path.name}) | {title[6:]} |" in listed


def test_generated_pages_are_current():
    for path, text in REFERENCE["pages"]().items():
        assert path.read_text() == text, f"{path.name}: run `make reference`"


def test_every_artifact_of_the_pipeline_is_described_and_no_other():
    files = {
        path
        for declared in REFERENCE["declared_stages"]().values()
        for _, path in REFERENCE["declared_files"](declared)
    }

    assert files == set(REFERENCE["TEXTS"]["artifacts"])


def metrics_of_the_outputs():
    files = sorted((ROOT / "outputs").rglob("metrics.json"))
    for path in files:
        folder = path.parent.relative_to(ROOT / "outputs").as_posix()
        yield from flatten(json.loads(path.read_text()), f"{folder}/", "/")


def metrics_of_the_baselines():
    for path in sorted((ROOT / "baselines").glob("*.json")):
        yield from read_baseline(path).metrics


@pytest.mark.parametrize("names", [metrics_of_the_outputs, metrics_of_the_baselines])
def test_every_metric_is_described_by_exactly_one_row(names):
    metrics = REFERENCE["METRICS"]
    counts = {name: sum(metric.matches(name) for metric in metrics) for name in names()}

    assert counts
    assert {name: count for name, count in counts.items() if count != 1} == {}
