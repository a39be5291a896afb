"""The commands of this repository: `nox` checks and tests, `nox -s slow` and `nox -s docs` do more.

Sessions run in the environment that nox was started from, so nothing is installed.
"""

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["check", "test"]


@nox.session
def check(session: nox.Session) -> None:
    """Style, format and types."""
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@nox.session
def test(session: nox.Session) -> None:
    """The quick tests; `nox -s test -- tests/sparsity -k masks` runs some of them."""
    session.run("pytest", *session.posargs)


@nox.session
def slow(session: nox.Session) -> None:
    """The slow tests: studies that are trained, killed and resumed, clusters, browsers."""
    # In the order of the folders: by their numbers of tests, the longest single ones came last.
    session.run("pytest", "-m", "slow", "--no-loadscope-reorder", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Writes what is generated in the pages and needs no training, checks all pages, and builds
    the site of them in build/site."""
    session.run("python", "-m", "tests.house", "--write")
    session.run("pytest", "-n", "0", "tests/test_docs.py", "tests/test_house.py")
    session.run("mkdocs", "build", env={"NO_MKDOCS_2_WARNING": "1"})
