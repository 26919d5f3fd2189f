"""The description of the package for an index, which shows no file of the project."""

from pathlib import Path

from prefork.cli.manual.description import package_description
from tests.markdown_links import relative_targets

ROOT = Path(__file__).parents[3]
README = """\
![One socket.](prefork/docs/pictures/a.svg)
<!-- The picture as text:
master
 └─ worker
-->

See [the pages](prefork/docs/apps.md#wsgi), [`apps`](prefork/docs/apps.md), [`X.md`](X.md) and
[PyPI](https://pypi.org/).
"""


def test_links_become_commands_and_the_picture_becomes_text() -> None:
    assert package_description(README) == (
        "```text\nmaster\n └─ worker\n```\n\n"
        "See the pages (`prefork help apps`), `apps`, `X.md` and\n[PyPI](https://pypi.org/).\n"
    )


def test_the_description_is_generated() -> None:
    expected = package_description((ROOT / "README.md").read_text())
    assert (ROOT / "conf/description.md").read_text() == expected, "run scripts/docs"


def test_no_link_of_the_description_leads_to_a_file() -> None:
    assert relative_targets((ROOT / "README.md").read_text())
    assert relative_targets((ROOT / "conf/description.md").read_text()) == []
