"""An app that is not in the list may be in another home, or belong to a service of systemd."""

from pathlib import Path

import pytest

from prefork.cli.registry.elsewhere import explain_elsewhere


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "units"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    "command",
    [
        "/srv/bin/prefork app:main",
        "/srv/bin/prefork -w 2 --name app shop.web:main",
        "/srv/bin/prefork -n app -- node server.js",
        "/srv/bin/prefork -c {settings}",
        "/srv/bin/prefork --config={settings} --section app",
    ],
)
@pytest.mark.parametrize(
    "settings", ['app = "app:main"', 'name = "app"', "[apps.app]\nworkers = 2"]
)
def test_a_unit_is_named_by_its_command_or_its_settings(
    units: Path, command: str, settings: str
) -> None:
    (units / "prefork.toml").write_text(settings)
    text = command.format(settings=units / "prefork.toml")
    (units / "shop.service").write_text(f"[Service]\nUser=www-data\nExecStart={text}\n")
    advice = (
        "the service shop may serve it: journalctl -u shop tells why it does not, "
        "systemctl start shop"
    )
    assert explain_elsewhere("app", units, [units, units / "none"]) == advice
    assert explain_elsewhere("ap", units, [units]) == ""


def test_units_of_other_programs_are_not_named(units: Path) -> None:
    (units / "app.service").write_text("[Service]\nExecStart=/usr/bin/gunicorn app:main\n")
    (units / "shop.service").symlink_to(units / "missing")
    (units / "large.service").write_text("ExecStart=/srv/prefork app:main\n" + "#" * 2**20)
    assert explain_elsewhere("app", units, [units]) == ""


def test_a_unit_may_have_the_name_of_the_app_or_be_a_template(units: Path) -> None:
    (units / "web.service").write_text("[Service]\nExecStart=/srv/prefork -c /none/x.toml\n")
    (units / "prefork@.service").write_text("[Service]\nExecStart=/srv/prefork -c /etc/%i.toml\n")
    assert explain_elsewhere("web", units, [units]).endswith("systemctl start web")
    assert explain_elsewhere("api", units, [units]) == ""
    (units / "multi-user.target.wants").mkdir()
    (units / "multi-user.target.wants/prefork@api.service").symlink_to(units / "prefork@.service")
    assert explain_elsewhere("api", units, [units]).endswith("systemctl start prefork@api")


def test_the_usual_home_of_the_user_is_named(units: Path, tmp_path: Path) -> None:
    app = tmp_path / ".prefork" / "web"
    app.mkdir(parents=True)
    (app / "state").write_text("{}")
    advice = f"{app.parent} has one: PREFORK_HOME={app.parent} prefork start web"
    assert explain_elsewhere("web", units, [units]) == advice
    assert explain_elsewhere("web", app.parent, [units]) == ""
    assert explain_elsewhere("../.prefork/web", units, [units]) == ""
