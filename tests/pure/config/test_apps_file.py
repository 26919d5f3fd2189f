"""A file with several apps: the settings of each, the order of their starts, and errors."""

from typing import Any

import pytest

from prefork.config import resolve
from prefork.config.apps_file import (
    check_stage,
    is_apps_file,
    parse_sections,
    select_apps,
    sort_by_dependency,
)
from prefork.config.flags import remove_env_options
from prefork.config.options import Config
from prefork.config.settings_diff import SettingChange, keep_restart_options, list_changes
from prefork.errors import UsageError


def config(table: dict[str, Any], name: str = "web", stage: str = "") -> Config:
    return resolve(parse_sections(table, "/srv/p.toml", "/srv", stage)[name].layers).config


def test_an_apps_table_overrides_defaults_and_variables_are_merged() -> None:
    table = {
        "defaults": {
            "workers": 2,
            "threads": 3,
            "env": {"A": "1", "B": "1", "C": "1"},
            "env_live": {"B": "2", "D": "2"},
        },
        "apps": {
            "web": {"workers": 4, "app": "a:b", "env": {"C": 3}, "env_live": {"D": "4"}},
            "db": {"app": "c:d"},
        },
    }
    web = config(table, stage="live")
    assert (web.app, web.workers, web.threads) == ("a:b", 4, 3)
    assert web.env == {"A": "1", "B": "2", "C": "3", "D": "4"}
    assert config(table).env == {"A": "1", "B": "1", "C": "3"}
    assert config(table, "db").workers == 2


def test_paths_start_at_the_folder_of_the_file() -> None:
    table = {"defaults": {"chdir": "all"}, "apps": {"web": {"log_file": "log/web"}}}
    assert config(table).log_file == "/srv/log/web"
    assert config(table).chdir == "/srv/all"


def test_a_file_with_apps_and_one_with_options_are_distinguished() -> None:
    assert is_apps_file({"apps": {}})
    assert is_apps_file({"defaults": {}})
    assert not is_apps_file({"app": "a:b"})


def known(**after: Any) -> Any:
    return parse_sections({"apps": {name: {"after": who} for name, who in after.items()}}, "p", "/")


def test_each_app_is_sorted_behind_the_apps_of_its_after() -> None:
    order = sort_by_dependency(known(web=["db", "cache"], cache="db", db=[], tail="web"))
    assert order == ["db", "cache", "web", "tail"]
    assert select_apps(order, ["web", "db"], "p") == ["db", "web"]
    assert select_apps(order, [""], "p") == order


def test_a_cycle_is_refused() -> None:
    with pytest.raises(UsageError, match="a -> b -> c -> a"):
        sort_by_dependency(known(x="a", a="b", b="c", c="a"))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"apps": {"web": {"wrokers": 1}}}, r"p, \[apps.web\]: .*'wrokers'; did you mean workers"),
        ({"apps": {"web": {"aftr": "x"}}}, "did you mean after"),
        ({"defaults": {"wrokers": 1}, "apps": {"web": {}}}, r"p, \[defaults\]: .*workers"),
        ({"defaults": {"after": "x"}, "apps": {"web": {}}}, "after is for one app"),
        ({"apps": {"web": {}}, "default": {}}, "did you mean defaults"),
        ({"apps": {}}, "there is no app in it"),
        ({"apps": 3}, r"p, \[apps\]: expected a table"),
        ({"apps": {"web": 3}}, r"p, \[apps.web\]: expected a table"),
        ({"apps": {"web": {"name": "x"}}}, "name cannot be set here"),
        ({"apps": {"web": {"after": 3}}}, "after is wrong: expected names"),
        ({"apps": {"web": {"after": "dbs"}, "db": {}}}, r"no \[apps.dbs\]; did you mean db"),
        ({"apps": {"web": {"env": 3}}}, r"p, \[apps.web.env\]: env"),
        ({"apps": {"web": {"env_x": {"A": []}}}}, r"p, \[apps.web.env_x\]: env"),
        ({"apps": {"web": {"stage_x": 3}}}, r"p, \[apps.web.stage_x\]: expected a table"),
        ({"apps": {"web": {"stage_x": {"wrokers": 3}}}}, r"stage_x\]: .*did you mean workers"),
        (
            {"apps": {"web": {"stage_x": {"env": {}}}}},
            r"stage_x\]: env cannot be .* table env_NAME",
        ),
        ({"apps": {"web": {"stage_x": {"after": "db"}}}}, r"stage_x\]: after cannot be set here"),
        ({"defaults": {"stage_x": {"surge": 0}}, "apps": {"web": {}}}, r"stage_x\]: surge = 0"),
    ],
)
def test_an_error_names_the_table_and_the_nearest_name(table: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_sections(table, "p", "/")


def test_all_that_is_wrong_in_a_file_is_told_at_once() -> None:
    table = {
        "default": {},
        "defaults": {"wrokers": 1, "surge": 0, "name": "x"},
        "apps": {
            "web": {"threds": 1, "workers": "many", "env": {"A": []}, "after": "dbs"},
            "db": {"backlog": 0, "after": 3},
            "job": 3,
        },
    }
    with pytest.raises(UsageError) as caught:
        parse_sections(table, "p", "/")
    lines = str(caught.value).split("\n  and ")
    wanted = ["'default'", "'wrokers'", "surge = 0", "name cannot", "'threds'", "workers = 'many'"]
    wanted += ["web.env]: env", "backlog = 0", "after is wrong", "expected a table"]
    for each in wanted:
        assert [line for line in lines if each in line], each
    assert len(lines) == len(wanted)


def test_the_options_of_a_stage_override_those_of_their_table() -> None:
    table = {
        "defaults": {"workers": 1, "surge": 1, "stage_a": {"workers": 2, "surge": 2}},
        "apps": {"web": {"surge": 3, "threads": 3, "stage_a": {"threads": 4}}},
    }
    found = {}
    for stage in ("", "a", "b"):
        (section,) = parse_sections(table, "p", "/", stage).values()
        config = resolve(section.layers).config
        found[stage] = (config.workers, config.surge, config.threads)
    assert found == {"": (1, 3, 3), "a": (2, 3, 4), "b": (1, 3, 3)}
    check_stage(table, "p", "a")
    with pytest.raises(UsageError, match="env_b"):
        check_stage(table, "p", "b")


def test_an_unknown_stage_and_an_unknown_app_are_refused() -> None:
    table = {"apps": {"web": {"env_production": {}}}}
    with pytest.raises(UsageError, match="env_prodution; did you mean production"):
        check_stage(table, "p", "prodution")
    check_stage(table, "p", "production")
    check_stage(table, "p", "")
    with pytest.raises(UsageError, match=r"no \[apps.wbe\]; did you mean web"):
        select_apps(["web"], ["wbe"], "p")


def test_changes_are_listed_in_the_form_of_a_file_and_variables_by_name() -> None:
    old = Config(workers=1, log_file="a", env={"A": "1", "B": "secret", "S": "same"})
    new = Config(workers=2, log_file="b", env={"B": "other", "C": "3", "S": "same"})
    assert list_changes(old, old) == []
    assert list_changes(old, new) == [
        SettingChange("workers", 1, 2, False),
        SettingChange("env A", "set", "unset", False),
        SettingChange("env B", "set", "another value", False),
        SettingChange("env C", "unset", "set", False),
        SettingChange("log-file", "a", "b", True),
    ]
    kept = keep_restart_options(old, new)
    assert (kept.workers, kept.log_file) == (2, "a")


def test_env_options_are_removed_from_a_command_line() -> None:
    words = ["-eA=1", "-w", "2", "--env", "B=2", "--env=C=3", "-DeD=4", "web:app", "-e", "E=5"]
    assert remove_env_options(words) == (["-w", "2", "-D", "web:app"], ["A", "B", "C", "D", "E"])
    program = ["-w", "2", "--", "sh", "-e", "x"]
    assert remove_env_options(program) == (program, [])
