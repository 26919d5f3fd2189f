"""Which words of a command line are files, and of what kind. PURE."""

import posixpath
import re

PYTHON = (".py",)
INTERPRETERS = {
    ".js": "node",
    ".cjs": "node",
    ".mjs": "node",
    ".rb": "ruby",
    ".php": "php",
    ".pl": "perl",
    ".sh": "sh",
}
"""The program that runs a script, by the suffix of its name."""

TYPESCRIPT = (".ts", ".mts", ".cts", ".tsx")
SCRIPTS = (*INTERPRETERS, *TYPESCRIPT, *PYTHON)


def is_ecosystem(word: str) -> bool:
    """Return whether the word names a file that PM2 reads apps from."""
    name = posixpath.basename(word)
    return re.search(r"\.config\.[cm]?js$|\.(json|ya?ml)$", name) is not None


def is_procfile(word: str) -> bool:
    """Return whether the word names a Procfile, also one of a stage, as in Procfile.dev."""
    return re.fullmatch(r"Procfile(\.\w+)?", posixpath.basename(word)) is not None


def is_supervisor_file(word: str) -> bool:
    """Return whether the word names the main file of supervisor."""
    return posixpath.basename(word) in ("supervisord.conf", "supervisor.conf")


def is_gunicorn_file(word: str) -> bool:
    """Return whether the word names the settings of gunicorn, such as gunicorn.conf.py."""
    name = posixpath.basename(word)
    return re.fullmatch(r"gunicorn([._-]\w+)*\.py|\w+\.conf\.py", name) is not None


def explain_gunicorn_file(path: str, file: str = "") -> str:
    """Return what to type for the settings of gunicorn. ``file``: how they are named there."""
    return (
        f"{path} is Python, as gunicorn's settings are, and a reload does not run it: "
        f"`prefork convert {file or path} > prefork.toml` makes a settings file of it, for -c "
        "prefork.toml"
    )


def is_script(word: str) -> bool:
    """Return whether the word names a program: a script by its suffix, or a path."""
    return ":" not in word and (word.endswith(SCRIPTS) or "/" in word)


def explain_file(app: str) -> str:
    """Return what to type for a file that was given in the place of an app; empty: it is none."""
    if match := re.fullmatch(r"(asgi|wsgi|file):(.+:.+)", app):
        return f"{app}: without hypercorn's prefix {match[1]}:, as in {match[2].replace('.py', '')}"
    if match := re.fullmatch(r"(.*/.+)\.py:(.+)", app):  # the importer explains app.py:app
        module = match[1].removeprefix("./").replace("/", ".")
        return f"{app}: an app is written with its module, as in {module}:{match[2]}"
    return "" if ":" in app else _explain_name(app)


def _explain_name(app: str) -> str:
    """Return what to type for a word without a colon."""
    if app.endswith(".toml"):
        return f"{app} is a settings file: prefork -c {app}, or prefork start {app}"
    if is_procfile(app) or is_ecosystem(app) or is_supervisor_file(app):
        return f"{app} is a file with apps: prefork start {app}"
    if app.endswith((".conf", ".ini")):
        return (
            f"{app}: settings are TOML here, and prefork init writes a prefork.toml; "
            f"prefork convert {app} makes one from the programs of supervisor"
        )
    if app.endswith(PYTHON):
        return _explain_python(app)
    if not is_script(app):
        return ""
    suffix = posixpath.splitext(app)[1]
    runner = "npx tsx " if suffix in TYPESCRIPT else f"{INTERPRETERS.get(suffix, '')} ".lstrip()
    return (
        f"{app} names a file, not MODULE:CALLABLE: prefork -- {runner}{app} runs it as a program, "
        f"prefork start {app} in the background"
    )


def _explain_python(app: str) -> str:
    """Return what to type for a file in Python."""
    if is_gunicorn_file(app):
        return explain_gunicorn_file(app)
    if posixpath.basename(app) == "manage.py":
        return (
            f"{app} is Django's command: prefork PROJECT.wsgi:application serves the project, with "
            "the name of the folder that has wsgi.py"
        )
    module = app.removeprefix("./").removesuffix(".py").replace("/", ".")
    return (
        f"{app} is a file: prefork {module}:app serves the callable app in it, and "
        f"prefork -- python3 {app} runs it as a program"
    )
