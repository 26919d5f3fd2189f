"""``prefork start``: which words are targets, and what runs a script."""

import sys
from pathlib import Path

import pytest

from prefork.cli.verbs.script_runner import find_app_in_script, script_command
from prefork.cli.verbs.start_target import (
    join_watch_paths,
    positional_words,
    refuse_command_line,
    script_arguments,
    script_targets,
)
from prefork.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "targets"),
    [
        ("-w 4 server.js", "server.js"),
        ("server.js -i 4 --name x", "server.js"),
        ("server.js -i4 --env A=b.toml --watch", "server.js"),
        ("--max-memory-restart 300M a.js b.js", "a.js b.js"),
        ("-c x.toml --no-wait m:app", "m:app"),
        ("-D x.toml", "x.toml"),
        ("--time server.js", "server.js"),
        ("--zzz server.js", "server.js"),
        ("", ""),
    ],
)
def test_targets_are_neither_flags_nor_their_values(words: str, targets: str) -> None:
    assert positional_words(words.split()) == targets.split()


@pytest.mark.parametrize(
    ("own", "program", "targets"),
    [
        ("server.js", "", "server.js"),
        ("npm", "-- start", "npm"),
        ("npm", "", ""),
        ("m:app", "", ""),
        ("m:app", "-- node", ""),
        ("a.js b.js -w 2", "", "a.js b.js"),
        ("a.js web", "", ""),
        ("-w 2", "-- node a.js", ""),
        ("./run", "", "./run"),
    ],
)
def test_scripts_are_told_from_apps(own: str, program: str, targets: str) -> None:
    assert script_targets(own.split(), program.split()) == targets.split()


def test_a_target_with_spaces_is_a_command_line(folder: Path) -> None:
    for line, command in (
        ("sh -c 'exec true'", ["sh", "-c", "exec true"]),
        ("cd x && sh run", ["sh", "-c", "cd x && sh run"]),
    ):
        own = ["--name", "x", line]
        assert script_targets(own, []) == [line]
        assert script_arguments(line, own, ["--", "y"]) == ["--name", "x", "--", *command, "y"]
    for line, message in (
        ("no-such-program x", "there is no file no-such-program in .*, and no program of this"),
        ("gunicorn m:app -w 2", "leave out gunicorn: prefork start m:app -w 2"),
        ("python3 -m uvicorn m:app", "leave out python3 -m uvicorn: prefork start m:app"),
        ("echo it's", "echo it's: no closing quotation"),
    ):
        with pytest.raises(UsageError, match=message):
            script_arguments(line, [line], [])
    assert script_targets(["m:app('a b')"], []) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("gunicorn m:app -w 2", "leave out gunicorn: prefork start m:app -w 2"),
        ("-w 2 python3 -m uvicorn m:app", "leave out python3 -m uvicorn: prefork start -w 2 m:app"),
        ("node server.js", "stands behind -- .*: prefork start -- node server.js"),
        ("-n x python -m http.server", "prefork start -n x -- python -m http.server"),
        ("true a b", "true is a program, .*: prefork start -- true a b"),
        ("npm run dev", "prefork start -- npm run dev"),
    ],
)
def test_a_program_and_its_arguments_get_the_line_to_type(words: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        refuse_command_line(words.split(), lambda: ["web"])


@pytest.mark.parametrize(
    "words",
    ["", "-w 2", "node", "m:app x", "./node x", "node web", "no-such-program x", "true -w 2"],
)
def test_other_words_are_no_command_line(words: str) -> None:
    refuse_command_line(words.split(), lambda: ["node"])


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        ("server.js --watch x -w 2", "server.js --watch --watch-path=x -w 2"),
        ("--watch src server.js", "--watch --watch-path=src server.js"),
        ("m:app --watch src", "m:app --watch --watch-path=src"),
        ("--watch server.js", "--watch server.js"),
        ("--watch m:app", "--watch m:app"),
        ("--watch a.js b.js", "--watch a.js b.js"),
        ("--watch", "--watch"),
        ("m:app --watch --name x", "m:app --watch --name x"),
    ],
)
def test_a_word_behind_watch_that_is_no_target_is_a_path(words: str, joined: str) -> None:
    assert join_watch_paths(words.split()) == joined.split()


def test_settings_of_gunicorn_are_no_script(folder: Path) -> None:
    (folder / "gunicorn.conf.py").write_text("workers = 2\n")
    with pytest.raises(UsageError, match=r"`prefork convert gunicorn\.conf\.py >"):
        script_arguments("gunicorn.conf.py", ["gunicorn.conf.py"], [])


def executable(path: Path, text: str = "#!/bin/sh\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def test_a_script_is_run_by_what_its_name_says(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bin_folder = folder / "bin"
    for program in ("node", "sh", "bun", "npm"):
        executable(bin_folder / program)
    monkeypatch.setenv("PATH", str(bin_folder))
    for name in ("a.js", "a.ts", "a.py", "a.sh", "a.rb", "plain"):
        (folder / name).write_text("")
    executable(folder / "run")
    here = str(folder)
    assert script_command("a.js", here) == ["node", "a.js"]
    assert script_command("a.ts", here) == ["bun", "a.ts"]
    assert script_command("a.py", here) == [sys.executable, "a.py"]
    assert script_command("a.sh", here) == ["sh", "a.sh"]
    executable(folder / "b.sh")
    executable(folder / "b.js")
    assert script_command("b.sh", here) == ["./b.sh"]
    assert script_command("b.js", here) == ["node", "b.js"]
    assert script_command("run", here) == ["./run"]
    assert script_command("./run", here) == ["./run"]
    assert script_command("npm", here) == ["npm"]
    assert script_command("a.js", here, "bun") == ["bun", "a.js"]
    executable(folder / "node_modules/.bin/tsx")
    assert script_command("a.ts", here) == [f"{here}/node_modules/.bin/tsx", "a.ts"]
    for script, interpreter, message in (
        ("none.js", "", "there is no file none.js in"),
        ("a.rb", "", "there is no ruby in PATH"),
        ("a.js", "deno", "there is no deno in PATH"),
        ("plain", "", "plain cannot be executed; chmod"),
    ):
        with pytest.raises(UsageError, match=message):
            script_command(script, here, interpreter)
    (folder / "node_modules/.bin/tsx").unlink()
    (bin_folder / "bun").unlink()
    with pytest.raises(UsageError, match="no program here runs TypeScript: npm install tsx"):
        script_command("a.ts", here)


def test_the_command_of_a_script_has_its_arguments_in_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executable(folder / "node")
    monkeypatch.setenv("PATH", str(folder))
    (folder / "a.js").write_text("")
    own = ["a.js", "-i", "2", "--node-args", "--x --y", "--name=web"]
    assert script_arguments("a.js", own, ["--", "--port", "3"]) == [
        *("-i", "2", "--name=web", "--", "node", "--x", "--y", "a.js", "--port", "3")
    ]
    own = ["--interpreter=node", "a.js", "--interpreter-args=--z"]
    assert script_arguments("a.js", own, []) == ["--", "node", "--z", "a.js"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("app = 1", "app"),
        ("app: object = 1", "app"),
        ("def application(e, s): ...", "application"),
        ("async def app(s, r, x): ...", "app"),
        ("app = 1\nif __name__ == '__main__':\n    app()", ""),
        ("def main(): ...\nmain()", ""),
        ("print(", ""),
        ("\0", ""),
    ],
)
def test_an_app_in_a_script_is_found(folder: Path, text: str, name: str) -> None:
    (folder / "main.py").write_text(text)
    assert find_app_in_script(str(folder / "main.py")) == name
    if name:
        with pytest.raises(UsageError, match=rf"prefork start main:{name} serves it"):
            script_arguments("main.py", ["main.py"], [])
    else:
        assert script_arguments("main.py", ["main.py"], []) == ["--", sys.executable, "main.py"]
