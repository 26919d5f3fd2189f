"""Read what people type from the installed peers; ``scripts/peer-words`` calls this in their venv.

Each peer is asked by its own code: gunicorn's list of settings, the parameters of click and
argparse, the options of commander, and the keys that supervisor's parser asks a section for.
"""

import argparse
import configparser
import inspect
import json
import os
import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

Words = dict[str, Any]

PM2_SCRIPT = """
const fs = require("fs"), path = require("path");
const pm2 = path.resolve(process.argv[1], "node_modules/pm2");
const commander = require(require.resolve("commander", { paths: [pm2] }));
const flagsOf = (command) => Object.fromEntries(command.options.flatMap((option) =>
  [option.short, option.long].filter(Boolean)
    .map((flag) => [flag, option.required || option.optional ? 1 : 0])));
commander.parse = () => {
  const verbs = {};
  for (const command of commander.commands)
    for (const word of [command.name(), command.alias()])
      if (word && word !== "*") verbs[word] = flagsOf(command);
  const schema = JSON.parse(fs.readFileSync(path.join(pm2, "lib/API/schema.json")));
  const keys = Object.entries(schema).flatMap(([key, field]) =>
    [key.startsWith("^env_") ? "env_*" : key].concat(field.alias || []));
  const { version } = JSON.parse(fs.readFileSync(path.join(pm2, "package.json")));
  console.log(JSON.stringify({ version, flags: flagsOf(commander), verbs, keys }));
  process.exit(0);
};
process.argv.splice(1, 1, "pm2", "startup");  // the one verb for which PM2 starts no daemon
require(path.join(pm2, "lib/binaries/CLI.js"));
"""


def read_gunicorn() -> Words:
    """Return gunicorn's settings, hooks among them, and their flags."""
    settings = import_module("gunicorn.config").KNOWN_SETTINGS
    flags = {
        flag: 0 if each.action in ("store_true", "store_false", "store_const") else 1
        for each in settings
        for flag in each.cli or ()
    }
    return {"flags": flags, "keys": [each.name for each in settings]}


def read_click(command: Any) -> dict[str, int]:
    """Return the flags of a click command, each with the number of its values."""
    return {
        flag: 0 if option.is_flag else 1
        for option in command.params
        if option.param_type_name == "option"
        for flag in (*option.opts, *option.secondary_opts)
    }


def read_uvicorn() -> Words:
    """Return uvicorn's flags, and the arguments of ``uvicorn.run`` and of ``uvicorn.Config``."""
    command = import_module("uvicorn.main").main
    keys = [str(option.name) for option in command.params]
    for function in (import_module("uvicorn").run, import_module("uvicorn").Config):
        keys += inspect.signature(function).parameters
    others = ("app", "version")
    return {
        "flags": read_click(command),
        "keys": [k for k in dict.fromkeys(keys) if k not in others],
    }


def read_granian() -> Words:
    """Return granian's flags."""
    return {"flags": read_click(import_module("granian.cli").cli), "keys": []}


class ParserCompleteError(Exception):
    """The parser of a command has all its flags."""


def read_hypercorn() -> Words:
    """Return hypercorn's flags, and the settings of its files."""

    def stop(parser: argparse.ArgumentParser, *_words: object) -> None:
        raise ParserCompleteError(parser)

    argparse.ArgumentParser.parse_args = stop  # type: ignore[method-assign, assignment]
    try:
        import_module("hypercorn.__main__").main([])
    except ParserCompleteError as ready:
        parser = ready.args[0]
    flags = {
        flag: 0 if action.nargs == 0 else 1
        for flag, action in parser._option_string_actions.items()
        if flag not in ("-h", "--help")
    }
    attributes = vars(import_module("hypercorn.config").Config)
    keys = [
        name
        for name, value in {**dict.fromkeys(attributes["__annotations__"]), **attributes}.items()
        if not name.startswith("_")
        and (getattr(value, "fset", None) or not hasattr(value, "__get__"))
    ]
    return {"flags": flags, "keys": keys}


def read_supervisor() -> Words:
    """Return the keys of a program's section, supervisord's flags, and supervisorctl's verbs."""
    options = import_module("supervisor.options")
    controller = import_module("supervisor.supervisorctl").DefaultControllerPlugin
    flags: dict[str, int] = {}
    for each in (options.ServerOptions(), options.ClientOptions()):
        flags |= {f"--{long.rstrip('=')}": int(long.endswith("=")) for long in each.long_options}
        flags |= {
            f"-{letter}": int(bool(colon))
            for letter, colon in re.findall("(.)(:?)", "".join(each.short_options))
        }
    verbs = [name[3:] for name in dir(controller) if name.startswith("do_") and name != "do_EOF"]
    keys = _read_program_keys(options)
    return {"flags": flags, "verbs": {verb: {} for verb in verbs}, "keys": keys}


def _read_program_keys(options: Any) -> list[str]:
    """Return the keys that supervisor asks a ``[program:x]`` for, by letting it read one."""
    asked: list[str] = []

    class Recorder(options.UnhosedConfigParser):  # type: ignore[misc]
        """A parser that notes what it is asked for."""

        def saneget(self, section: str, option: str, *words: Any, **more: Any) -> Any:
            """Note the key and return its value."""
            asked.append(option)
            return super().saneget(section, option, *words, **more)

    parser = Recorder()
    parser.read_dict({"program:x": {"command": "/bin/cat"}})
    server = options.ServerOptions()
    server.process_groups_from_parser(parser)
    assert isinstance(parser, configparser.RawConfigParser)
    return list(dict.fromkeys(asked))


def read_pm2(folder: str) -> Words:
    """Return PM2's flags, verbs and the keys of its ecosystem files."""
    words = ["node", "-e", PM2_SCRIPT, folder]
    # PM2 welcomes its users on stdout, and makes a home at once.
    environ = {**os.environ, "PM2_HOME": f"{folder}/pm2-home"}
    text = subprocess.run(words, check=True, stdout=subprocess.PIPE, env=environ).stdout
    return dict(json.loads(text.splitlines()[-1]))


def main(folder: str, path: str) -> None:
    """Read all peers and write the file ``path``."""
    readers = {
        "gunicorn": read_gunicorn,
        "uvicorn": read_uvicorn,
        "granian": read_granian,
        "supervisor": read_supervisor,
        "hypercorn": read_hypercorn,
    }
    peers = {name: {"version": version(name), **read()} for name, read in readers.items()}
    peers["PM2"] = read_pm2(folder)
    text = json.dumps(peers, indent=1, sort_keys=True)
    Path(path).write_text(text + "\n", encoding="utf-8")
    print(", ".join(f"{name} {words['version']}" for name, words in peers.items()))


main(*sys.argv[1:])
