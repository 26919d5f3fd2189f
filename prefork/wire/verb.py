"""The parts of the declaration of a verb: words, arguments, and the functions behind it. PURE.

``verb_table.py`` declares the verbs. The parser of the command line, its help, the completion
scripts, the control protocol and the table in the manual are made from those declarations.

Design
------
- **A declaration names the functions that carry out a verb, as** ``module:function``. The
  declarations stand below the master and the command, which both need them and may not be imported
  here; and a verb that only asks a master must not import what other verbs need: it takes 50 ms of
  CPU, of which 20 are the start of Python itself, and the modules that ``list`` draws with take
  longer to import than that. Rejected: a table of functions in ``master`` and another one in
  ``cli``, joined by the name of the verb, because adding a verb then changes three files that may
  differ. Precedents: the entry points of Python packages, which are written in this way;
  ngx_command_t, which holds name, kind of arguments and function of a directive of nginx in one
  row. The price is that an editor does not follow the names; a search finds both ends, and a test
  resolves each name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from importlib import import_module
from typing import Any

from prefork.wire.versions import FIRST


class Role(Enum):
    """The clients that may ask a master for a verb."""

    GROUP = "the owner of the app, and the members of its --control-group"
    OWNER = "the owner of the app"


class PageAccess(Enum):
    """The right of the status server to ask a master for a verb, for visitors of its page."""

    NONE = "for no visitor"
    ALWAYS = "for every visitor"
    WITH_TOKEN = "for visitors with the token, if there is one"


class Completes(Enum):
    """The kind of words that a shell offers for an argument."""

    APPS = "names of apps"
    FILES = "names of files"
    SIGNALS = "names of signals"
    TOPICS = "topics of the manual"


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a verb.

    name       its name in the parsed options and in a request
    text       its help
    flags      such as ``("-n", "--lines")``; empty: it is a word with a place of its own
    metavar    the value in the help; a flag without one is a switch
    count      how many words it takes, as in argparse: 1, ``"?"``, ``"*"``, ``"+"``; None: one word
               that is no list
    parse      makes the value from a word, or raises ValueError
    default    the value of a flag that is not given
    bare       the value of a flag that is given without a word (``count`` is ``"?"``)
    choices    a reference to the collection of the words that it takes; empty: any word
    completes  what a shell offers, beside ``choices``
    is_sent    it is a field of the request to the master
    group      the heading in the help that it stands below; empty: that of all arguments
    """

    name: str
    text: str = ""
    flags: tuple[str, ...] = ()
    metavar: str = ""
    count: int | str | None = None
    parse: Callable[[str], Any] = str
    default: Any = None
    bare: Any = None
    choices: str = ""
    completes: tuple[Completes, ...] = ()
    is_sent: bool = False
    group: str = ""

    @property
    def is_switch(self) -> bool:
        """Return whether it is a flag that takes no value."""
        return bool(self.flags) and not self.metavar


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb, of the command line, of the control protocol, or of both.

    words      the words of the command line that mean it; the first one is its name
    text       its help in one phrase
    details    more about it for the manual, in sentences
    arguments  in the order of the help
    usage      lines of its usage, where it has several forms; empty: argparse writes the usage
    takes_serving_options
               the options of serving may be given, so ``run`` gets the words and parses them
    role       the clients that may ask a master for it
    page       whether the status server may ask for it
    since      the version of the control protocol from which on masters know it
    action     the function in the master (``master/verb_actions.py``); empty: the verb is no
               request to a master
    run        the function of the command; empty: it asks the master of each named app and prints
               the answer (``cli/verbs/ask_masters.py``)
    printer    the function that prints the answer of a master (``cli/view/answers.py``)
    done       the text that is printed instead: what the master has done
    timeout    seconds until a master must have answered, unless ``--timeout`` is given; None: no
               limit

    A verb without ``run``, ``printer`` and ``done`` is no command: only programs ask for it.
    """

    words: tuple[str, ...]
    text: str
    details: str = ""
    arguments: tuple[Argument, ...] = ()
    usage: tuple[str, ...] = ()
    takes_serving_options: bool = False
    role: Role = Role.OWNER
    page: PageAccess = PageAccess.NONE
    since: int = FIRST
    action: str = ""
    run: str = ""
    printer: str = ""
    done: str = ""
    timeout: float | None = None

    @property
    def name(self) -> str:
        """The name in requests and in messages."""
        return self.words[0]

    @property
    def is_command(self) -> bool:
        """Return whether the command line has it."""
        return bool(self.run or self.printer or self.done)

    @property
    def is_request(self) -> bool:
        """Return whether masters know it."""
        return bool(self.action)

    @property
    def fields(self) -> tuple[Argument, ...]:
        """The arguments that are fields of its request."""
        return tuple(argument for argument in self.arguments if argument.is_sent)


def resolve(reference: str) -> Any:
    """Import the module of a reference ``module:name`` and return what the name stands for there.

    Raises ImportError and AttributeError.
    """
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)
