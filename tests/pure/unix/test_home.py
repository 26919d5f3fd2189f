"""Files of the home that several commands write."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from prefork.unix.home import replace_file


def test_several_commands_may_replace_a_file_at_the_same_time(tmp_path: Path) -> None:
    """Each one succeeds, and the file has the text of one of them."""
    path = tmp_path / "saved.toml"
    texts = [letter * 4096 for letter in "abcdefgh"]

    def replace(text: str) -> None:
        for _ in range(100):
            replace_file(path, text)
            assert path.read_text() in texts

    with ThreadPoolExecutor(len(texts)) as threads:
        list(threads.map(replace, texts))
    assert [each.name for each in tmp_path.iterdir()] == ["saved.toml"]
