"""The description of the package for an index such as PyPI, which is made from README.md.

Design
------
- **An index shows the text alone,** and there links to files of the project lead nowhere. A link to
  a page of the manual becomes the command that shows it, the picture becomes its text, and another
  file is only named. Rejected: links to a host of the source, because the project has no public
  address.
- **It is a file, ``conf/description.md``,** and not made while the package is built, so that
  setup.cfg needs no code and a reader sees what an index shows.
"""

import re

_PICTURE = re.compile(r"^!\[[^\]]*\]\([^)]*\)\n<!--[^\n]*\n(.*?)^-->\n", re.MULTILINE | re.DOTALL)
_PAGE = re.compile(r"prefork/docs/([\w-]+)\.md(#[\w-]+)?")
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?://)([^)]*)\)")


def package_description(readme: str) -> str:
    """Return README.md without links to files of the project."""
    return _LINK.sub(_name_target, _PICTURE.sub(r"```text\n\1```\n", readme))


def _name_target(link: re.Match[str]) -> str:
    """Return the text of a link, with the command that shows the page to which it leads."""
    text, target = link.groups()
    page = _PAGE.fullmatch(target)
    if page is None or page[1] == text.strip("`"):
        return text
    return f"{text} (`prefork help {page[1]}`)"
