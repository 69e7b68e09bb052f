"""What is wrong with a GitHub workflow: each check returns a list of problems."""

import re
import shutil
import subprocess
from io import StringIO

from ruamel.yaml import YAML

from command_lines import ROOT, dvc_problem, latentlab_problem, make_problem, split_commands

PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
USES = re.compile(r"^ *(?:- )?uses: *(.*?) *$", re.MULTILINE)
READ_ONLY = {"contents": "read"}
COMMENTING = {"actions": "read", "pull-requests": "write"}
MAX_MINUTES = 180
CHECKERS = {"latentlab": latentlab_problem, "dvc": dvc_problem, "make": make_problem}
SHELL_WORDS = {"cd", "echo", "printf", "test", "["}
ASSIGNED = re.compile(r"\w+=\$\((.*)\)$")


def parse(text):
    """Return a workflow as nested dictionaries and lists; duplicate keys are an error."""
    return YAML(typ="safe", pure=True).load(StringIO(text))


def steps_of(workflow):
    """Return the steps of all jobs of a workflow, or of an action."""
    if "runs" in workflow:
        return workflow["runs"]["steps"]
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def pin_problems(text):
    """Actions are pinned by commit, and a comment has the version; our own are exempt."""
    used = [use for use in USES.findall(text) if not use.startswith("./.github/actions/")]
    unpinned = [f"not pinned: {use}" for use in used if not PINNED.fullmatch(use)]
    counted = sum("uses" in step for step in steps_of(parse(text)))
    return unpinned if counted == len(USES.findall(text)) else ["uses: must be on its own line"]


def permission_problems(workflow):
    """Jobs have the permissions that they need; one that may write runs no code of a checkout."""
    problems = []
    if workflow.get("permissions") != {}:
        problems.append("the workflow must declare `permissions: {}`")
    if "pull_request_target" in workflow["on"]:
        problems.append("pull_request_target gives pull requests from forks a token that may write")
    for name, job in workflow["jobs"].items():
        if job.get("permissions") not in (READ_ONLY, COMMENTING):
            problems.append(f"{name}: permissions {job.get('permissions')}")
        runs_code = any("run" in s or "actions/checkout" in s.get("uses", "") for s in job["steps"])
        if job.get("permissions") != READ_ONLY and runs_code:
            problems.append(f"{name} may write and runs commands or has a checkout")
    return problems


def token_problems(workflow):
    """No checkout keeps the token of the job in the Git configuration."""
    checkouts = [step for step in steps_of(workflow) if "checkout@" in step.get("uses", "")]
    kept = [s for s in checkouts if s.get("with", {}).get("persist-credentials") is not False]
    return ["a checkout without `persist-credentials: false`"] if kept else []


def limit_problems(workflow):
    """Every workflow has a concurrency group, and every job a timeout."""
    group = workflow.get("concurrency", {})
    problems = [
        f"concurrency has no {key}" for key in ("group", "cancel-in-progress") if key not in group
    ]
    return problems + [
        f"{name}: timeout-minutes must be at most {MAX_MINUTES}"
        for name, job in workflow["jobs"].items()
        if not 0 < job.get("timeout-minutes", 0) <= MAX_MINUTES
    ]


def command_problems(workflow):
    """Every `run` is valid Bash, its commands exist, and it contains no expressions of GitHub.

    An expression would be replaced by text that a pull request chooses; `env` passes it safely.
    """
    problems = []
    for step in steps_of(workflow):
        script = step.get("run", step.get("with", {}).get("script", ""))
        if "${{" in script:
            problems.append(f"expression in a script: {script}")
        if "run" not in step:
            continue
        syntax = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
        if syntax.returncode:
            problems.append(f"{script}: {syntax.stderr}")
            continue
        problems += [p for words in split_commands(script) if (p := _command_problem(words))]
    return problems


def _command_problem(words):
    program = words[0]
    redirected = next((i for i, word in enumerate(words) if word.startswith(">")), len(words))
    if assigned := ASSIGNED.fullmatch(" ".join(words)):
        return _command_problem(assigned[1].split())
    if program in CHECKERS:
        return CHECKERS[program](words[1:redirected])
    if program not in SHELL_WORDS and not shutil.which(program):
        return f"{program}: command not found"
    if program.startswith("python") and not (ROOT / words[1]).is_file():
        return f"{words[1]}: no such script"
    return None


def problems_of(text):
    """Return all problems of the text of a workflow."""
    workflow = parse(text)
    checks = (permission_problems, token_problems, limit_problems, command_problems)
    return pin_problems(text) + [problem for check in checks for problem in check(workflow)]
