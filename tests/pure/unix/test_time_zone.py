"""The local time zone, from TZ and from the machine."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from prefork.unix import time_zone

SUMMER = datetime(2026, 7, 1)
WINTER = datetime(2026, 12, 1)


@pytest.mark.parametrize(
    "word",
    [
        "Europe/Berlin",
        ":Europe/Berlin",
        "/usr/share/zoneinfo/Europe/Berlin",
        "CET-1CEST,M3.5.0,M10.5.0/3",
    ],
)
def test_tz_names_a_zone_a_file_or_a_rule(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv("TZ", word)
    zone = time_zone.local_zone()
    assert SUMMER.replace(tzinfo=zone).utcoffset() == timedelta(hours=2)
    assert WINTER.replace(tzinfo=zone).utcoffset() == timedelta(hours=1)


@pytest.mark.parametrize("word", ["", "No/Such", "/no/such/file", "../../etc/passwd", "é"])
def test_an_invalid_tz_means_utc(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv("TZ", word)
    assert SUMMER.replace(tzinfo=time_zone.local_zone()).utcoffset() == timedelta(0)


def test_without_tz_the_zone_of_the_machine_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TZ", raising=False)
    monkeypatch.setattr(time_zone, "LOCALTIME", "/usr/share/zoneinfo/Asia/Tokyo")
    assert SUMMER.replace(tzinfo=time_zone.local_zone()).utcoffset() == timedelta(hours=9)
    monkeypatch.setattr(time_zone, "LOCALTIME", str(tmp_path / "nothing"))
    assert time_zone.local_zone() is UTC
