"""The workflows in .github are safe and valid, and run the commands of `make ci`."""

import json
import re
import subprocess
from pathlib import Path

import playwright
import pytest

from command_lines import MAKEFILE, ROOT
from workflow_checks import command_problems, parse, pin_problems, problems_of, steps_of

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ENVIRONMENT = ROOT / ".github" / "actions" / "environment" / "action.yml"
GOOD = """\
on: [push]
permissions: {}
concurrency: {group: test, cancel-in-progress: true}
jobs:
  test:
    permissions: {contents: read}
    timeout-minutes: 10
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
        with: {persist-credentials: false}
      - run: make test
"""
SHA = "3d3c42e5aac5ba805825da76410c181273ba90b1"
NODE = Path(playwright.__file__).parent / "driver" / "node"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_no_problems(path):
    assert problems_of(path.read_text()) == []


def test_the_action_that_restores_the_environment_has_no_problems():
    text = ENVIRONMENT.read_text()

    assert pin_problems(text) + command_problems(parse(text)) == []


def test_a_good_workflow_has_no_problems():
    assert problems_of(GOOD) == []


@pytest.mark.parametrize(
    ("part", "replacement", "problem"),
    [
        (f"@{SHA}", "@v7", "not pinned"),
        (SHA, SHA[:12], "not pinned"),
        (" # v7.0.1", "", "not pinned"),
        ("permissions: {}", "permissions: write-all", "must declare `permissions: {}`"),
        ("permissions: {}\n", "", "must declare `permissions: {}`"),
        ("{contents: read}", "{contents: write}", "permissions {'contents': 'write'}"),
        ("    permissions: {contents: read}\n", "", "test: permissions None"),
        ("{contents: read}", "{actions: read, pull-requests: write}", "may write and runs"),
        ("[push]", "[pull_request_target]", "pull_request_target"),
        ("        with: {persist-credentials: false}\n", "", "persist-credentials"),
        ("concurrency: {group: test, cancel-in-progress: true}\n", "", "concurrency has no group"),
        (", cancel-in-progress: true", "", "concurrency has no cancel-in-progress"),
        ("    timeout-minutes: 10\n", "", "timeout-minutes"),
        ("minutes: 10", "minutes: 360", "timeout-minutes"),
        ("make test", "make tests", "no target tests"),
        ("make test", "make test && make lnt", "no target lnt"),
        ("make test", "if make test", "syntax error"),
        ("make test", "latentlab gates", "no command gates"),
        ("make test", "latentlab gate --forma json > x", "No such option '--forma'"),
        ("make test", "dvc repo", "dvc repo"),
        ("make test", "sha=$(make-test x)", "make-test: command not found"),
        ("make test", "python3 scripts/unknown.py", "scripts/unknown.py: no such script"),
        ("make test", "echo ${{ github.head_ref }}", "expression in a script"),
    ],
)
def test_a_bad_workflow_has_a_problem(part, replacement, problem):
    assert part in GOOD

    found = problems_of(GOOD.replace(part, replacement))

    assert problem in "\n".join(found)


def test_ci_and_make_ci_run_the_same_targets():
    workflow = parse((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    scripts = "\n".join(step.get("run", "") for step in steps_of(workflow))
    recipe = re.search(r"^ci:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[1]

    in_workflow = set(re.findall(r"\bmake (?:-s )?([a-z]+)", scripts))

    assert in_workflow == set(re.findall(r"\$\(MAKE\) ([a-z]+)", recipe))


def test_jobs_use_versions_of_python_that_the_environment_is_built_for():
    versions = set(json.loads(re.search(r"fromJSON\('(.*?)'\)", ENVIRONMENT.read_text())[1]))
    jobs = parse((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]

    assert versions == {"3.11", "3.12", "3.13"}
    assert set(jobs["environment"]["strategy"]["matrix"]["python"]) == versions
    assert set(jobs["test"]["strategy"]["matrix"]["python"]) == versions


def test_every_workflow_that_another_one_waits_for_exists():
    names = {parse(path.read_text())["name"] for path in WORKFLOWS}
    workflow = parse((ROOT / ".github" / "workflows" / "comment.yml").read_text())

    assert names.issuperset(workflow["on"]["workflow_run"]["workflows"])


# the workflow that comments on pull requests

HARNESS = """\
const { run, pulls, artifacts, report, comments, script } = JSON.parse(process.argv[1]);
const calls = [];
const call = (name) => async (options) => { calls.push([name, options]); };
const github = {
  paginate: async (method, options) => method(options),
  rest: {
    pulls: { list: async ({ head }) => pulls.filter((each) => each.head.label === head) },
    actions: {
      listWorkflowRunArtifacts: async () => artifacts,
      downloadArtifact: async () => ({ data: new TextEncoder().encode(report).buffer }),
    },
    issues: {
      listComments: async () => comments,
      updateComment: call('update'),
      createComment: call('create'),
    },
  },
};
const context = { repo: { owner: 'us', repo: 'latentlab' }, payload: { workflow_run: run } };
const AsyncFunction = (async () => {}).constructor;
await new AsyncFunction('github', 'context', 'core', script)(github, context, { info: () => {} });
console.log(JSON.stringify(calls));
"""
RUN = {
    "id": 1,
    "head_sha": "abc",
    "head_branch": "faster",
    "head_repository": {"id": 7, "owner": {"login": "someone"}},
    "html_url": "https://github.com/us/latentlab/actions/runs/1",
    "conclusion": "failure",
}
PULL = {"number": 12, "head": {"label": "someone:faster", "sha": "abc", "repo": {"id": 7}}}
MARKER = "<!-- report of the gate -->"


def comment(**changes):
    """Run the script of comment.yml with a simulated GitHub; return its calls that write."""
    (step,) = steps_of(parse((ROOT / ".github" / "workflows" / "comment.yml").read_text()))
    scenario = {
        "run": RUN,
        "pulls": [PULL],
        "artifacts": [{"id": 5, "size_in_bytes": 100}],
        "report": "### Gate: digits failed",
        "comments": [],
        "script": step["with"]["script"],
        **changes,
    }
    command = [NODE, "--input-type=module", "--eval", HARNESS, "--", json.dumps(scenario)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_report_is_commented_on_the_pull_request_of_a_fork():
    [(name, options)] = comment()

    assert (name, options["issue_number"]) == ("create", 12)
    assert options["body"].startswith(MARKER)
    assert options["body"].endswith("### Gate: digits failed")
    assert RUN["html_url"] in options["body"]


def test_an_earlier_comment_is_updated_but_none_of_another_author():
    comments = [
        {"id": 1, "user": {"login": "someone"}, "body": MARKER},
        {"id": 2, "user": {"login": "github-actions[bot]"}, "body": "something else"},
        {"id": 3, "user": {"login": "github-actions[bot]"}, "body": f"{MARKER} earlier"},
    ]

    assert [(name, o.get("comment_id")) for name, o in comment(comments=comments)] == [
        ("update", 3)
    ]
    assert [name for name, _ in comment(comments=comments[:2])] == ["create"]


@pytest.mark.parametrize(
    "head",
    [
        {**PULL["head"], "sha": "newer"},
        {**PULL["head"], "repo": {"id": 8}},
        {**PULL["head"], "repo": None},
        {**PULL["head"], "label": "victim:faster"},
    ],
    ids=["newer commit", "other repository", "deleted repository", "other branch"],
)
def test_nothing_is_written_if_the_run_belongs_to_no_pull_request(head):
    assert comment(pulls=[{"number": 12, "head": head}]) == []


def test_a_missing_or_too_large_report_is_stated():
    [(_, missing)] = comment(artifacts=[])
    [(_, large)] = comment(artifacts=[{"id": 5, "size_in_bytes": 10**9}])

    assert missing["body"].endswith("The gate wrote no report.")
    assert large["body"].endswith("The report has 1000000000 bytes, too many for a comment.")


def test_a_report_notifies_nobody_and_fits_into_a_comment():
    [(_, options)] = comment(report="@everyone " * 6000)

    assert "@everyone" not in options["body"]
    assert len(options["body"]) < 65536
