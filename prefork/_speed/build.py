"""Commands of setuptools that build the compiled part, or leave it out; setup.cfg names them.

With ``PREFORK_PURE=1`` in the environment nothing is compiled, and a wheel is one for any machine
(py3-none-any). Otherwise the extensions are optional: where no compiler works, the package is
installed without them. pip hides what a build prints, so the start line and ``prefork report`` tell
which build runs. A source distribution holds the generated C, so that it builds without Cython.

Design
------
- **The extensions are declared by each command that asks for them first.** setup.cfg cannot declare
  extensions, and pyproject.toml can only with all metadata of the project in it.
"""

import os
from importlib import import_module
from pathlib import Path

from setuptools import Distribution, Extension
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build
from setuptools.command.editable_wheel import editable_wheel
from setuptools.command.sdist import sdist

_MODULES = (
    *("access_lines", "asgi_calls", "epoll_transport", "head_reader", "response_composer"),
    "wsgi_calls",
)
_FOLDER = "prefork/_speed"


def _declare_extensions(distribution: Distribution) -> None:
    """Give the distribution its extensions, or none if the environment asks for pure Python."""
    is_pure = os.environ.get("PREFORK_PURE", "0") not in ("", "0")
    distribution.ext_modules = [
        Extension(f"prefork._speed.{name}", [f"{_FOLDER}/{name}.pyx"], optional=True)
        for name in (() if is_pure else _MODULES)
    ]


class Build(build):
    """Builds the package in place or for a wheel."""

    def initialize_options(self) -> None:
        """Declare the extensions, so that they are built."""
        _declare_extensions(self.distribution)
        super().initialize_options()


class BuildWheel(bdist_wheel):
    """Builds a wheel for this interpreter, or one for any."""

    def initialize_options(self) -> None:
        """Declare the extensions: the tags of the wheel follow from them."""
        _declare_extensions(self.distribution)
        super().initialize_options()


class BuildEditable(editable_wheel):
    """Builds the extensions into the source tree (``pip install --editable``)."""

    def initialize_options(self) -> None:
        """Declare the extensions, so that they are built."""
        _declare_extensions(self.distribution)
        super().initialize_options()


class BuildSource(sdist):
    """Builds a source distribution that holds the generated C."""

    def make_distribution(self) -> None:
        """Generate the C, and add it to the files. Not in ``add_defaults``, which setuptools calls
        on a class of its own (egg_info's manifest_maker)."""
        import_module("Cython.Build").cythonize([f"{_FOLDER}/{name}.pyx" for name in _MODULES])
        self.filelist.extend(
            str(Path(_FOLDER, name + ending)) for name in _MODULES for ending in (".c", ".pyx")
        )
        self.filelist.extend(map(str, Path(_FOLDER).glob("*.pxd")))
        super().make_distribution()
