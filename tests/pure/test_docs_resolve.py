"""Every flag, key, path and exit code in a document exists, where the document says so."""

import pytest

from tests.pure.documents import CHECKS, PAGES

WRONG = {
    "flags": (
        "`prefork scale web --dry-run`",
        "`prefork stop web --surge 3`",
        "`prefork status web --surge 3`",
        "`list --surge 3`",
        "`prefork -Z 4 myapp:app`",
        "`prefork logs -w web`",
        "`-Z 4`",
        "`--no-such-flag`",
        "```sh\nprefork -w 4 -Z myapp:app   # a comment -Y\n```",
        "```sh\nprefork list --nope\n```",
    ),
    "scripts": ("`scripts/test --nope`", "```sh\nscripts/bench --nope\n```", "`scripts/docs --al`"),
    "keys": ("`no-such-key`", "`no-such-key = 3`", "`no_such=3`", "`kill-timeouts = '3s'`"),
    "paths": ("`GET /nosuch`", "`POST /nosuch`", "`/nosuch`", "`/no.json`", "`GET /scale`"),
    "exit codes": (
        "exit codes 113 and 117",
        "exit code 133",
        "exits with `99`",
        "exits with 112",
        "exit codes `100`, `102` or `114`",
        "exited with\n7",
        "the exit status 9",
    ),
}
"""Texts that no document may have, by the check that finds it."""

RIGHT = """\
`prefork scale web 3 --no-wait`, `prefork start -w 4 --name web myapp:app`, `prefork -- node -Z`,
`list --json`, `-w 4`, `scripts/test --all`, `kill-timeout`, `kill-timeout = "10s"`,
`KillMode=mixed`, `GET /livez`, `POST /scale`, `/readyz`, exit codes 100 and 102,
exits with `111`, exits with 0.

```sh
prefork logs -f web      # -Z
prefork -w 4 myapp:app | grep -Z
scripts/bench --publish
```
"""


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", PAGES)
def test_documents_name_what_exists(name: str, check: str) -> None:
    found = [f"{name}: {each}" for each in CHECKS[check](PAGES[name].read_text(), name)]
    if found:
        pytest.fail("\n".join(found), pytrace=False)


@pytest.mark.parametrize(
    ("check", "text"), [(check, text) for check in WRONG for text in WRONG[check]]
)
def test_each_check_sees_what_does_not_exist(check: str, text: str) -> None:
    for place in (text, f"First `workers` and exit code 100.\n\n{text}\n\nThen `--bind`."):
        assert list(CHECKS[check](place, "manager.md"))


@pytest.mark.parametrize("check", CHECKS)
def test_no_check_complains_of_what_exists(check: str) -> None:
    assert list(CHECKS[check](RIGHT, "manager.md")) == []
