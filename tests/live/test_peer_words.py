"""The words of the peers that are installed today, beside the file that the pure tests walk."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from prefork.config.foreign.foreign_table import find_flag, find_key
from prefork.config.foreign.foreign_verbs import FOREIGN_VERBS
from prefork.config.foreign.foreign_word import PeerName
from prefork.wire.verb_table import commands

ROOT = Path(__file__).parents[2]
RECORDED = ROOT / "tests/pure/config/peer_words.json"


def test_the_installed_peers_have_no_word_without_an_answer(tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not on this machine, which installs PM2")
    file = tmp_path / "words.json"
    read = subprocess.run(
        [ROOT / "scripts/peer-words", file],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert read.returncode == 0, read.stderr
    recorded = json.loads(RECORDED.read_text())
    for name, words in json.loads(file.read_text()).items():
        peer = PeerName(name)
        if words["version"] == recorded[name]["version"]:
            assert words == recorded[name]
        assert not [flag for flag in words["flags"] if not find_flag(flag, peer) and flag != "-?"]
        assert not [key for key in words["keys"] if not find_key(key, peer)]
        known = {*commands(), *FOREIGN_VERBS, "help", "version"}
        assert set(words.get("verbs", ())) <= known
