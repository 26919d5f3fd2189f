"""Settings and files of TLS: an error is one line that names the file."""

import os
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from prefork.config import Config, resolve
from prefork.config.flags import parse_arguments
from prefork.errors import MachineError, UsageError
from prefork.tls.certificate_plan import TlsPlan, make_tls_plan
from prefork.tls.credentials import MAX_CONTEXT_AGE, Credentials, read_credentials, read_file_stamps
from tests.certificates import SECRET, Authority


@pytest.fixture(scope="module")
def folder(ca: Authority) -> Path:
    """The folder of ``ca``, with additional files that are wrong."""
    folder = ca.folder
    (folder / "right").write_text(SECRET)
    (folder / "wrong").write_text("wrong")
    (folder / "empty").write_text("")
    good = (folder / "good.pem").read_text()
    (folder / "garbled").write_text(good[:40] + "AAAA" + good[44:])
    (folder / "directory").mkdir()
    os.mkfifo(folder / "fifo")
    with open(folder / "huge", "wb") as file:
        file.truncate(2**34)
    return folder


WRONG = {
    "missing": (
        "--tls-cert missing.pem",
        "tls-cert: cannot read {here}/missing.pem: no such file or directory",
    ),
    "a directory": ("--tls-cert directory", "cannot read {here}/directory: is a directory"),
    "a fifo": (
        "--tls-cert fifo",
        "tls-cert: cannot read {here}/fifo: it is a fifo, not a regular file",
    ),
    "a fifo as key": ("--tls-cert good.pem,key=fifo", "tls-key: cannot read {here}/fifo: it is a "),
    "a device": ("--tls-cert /dev/zero", "tls-cert: cannot read /dev/zero: it is a device"),
    "huge": ("--tls-cert huge", "cannot read {here}/huge: it has more than 16777216 bytes"),
    "a fifo as authority": (
        "--tls-cert good.both --tls-client required --tls-ca fifo",
        "tls-ca: cannot read {here}/fifo: it is a fifo",
    ),
    "a device as password": (
        "--tls-cert locked.both --tls-password file:/dev/zero",
        "tls-password: cannot read /dev/zero: it is a device",
    ),
    "a huge password": (
        "--tls-cert locked.both --tls-password file:huge",
        "tls-password: cannot read {here}/huge: it has more than 65536 bytes",
    ),
    "no certificate": ("--tls-cert good.key", "{here}/good.key: it holds no certificate in PEM"),
    "garbled": ("--tls-cert garbled", "tls-cert: {here}/garbled: its first certificate is garbled"),
    "missing key": ("--tls-cert good.pem,key=no", "tls-key: cannot read {here}/no: no such file"),
    "no key": ("--tls-cert good.pem", "tls-key: {here}/good.pem holds no private key in PEM"),
    "empty key": ("--tls-cert good.pem --tls-key empty", "{here}/empty holds no private key"),
    "another key": (
        "--tls-cert good.pem --tls-key other.key",
        "tls-key: {here}/other.key is not the key of the certificate {here}/good.pem",
    ),
    "the second": (
        "--tls-cert good.both --tls-cert good.pem,key=other.key",
        "{here}/other.key is not the key of the certificate {here}/good.pem",
    ),
    "no password": (
        "--tls-cert locked.both",
        "tls-key: {here}/locked.both is encrypted: set tls-password",
    ),
    "wrong password": (
        "--tls-cert locked.both --tls-password file:wrong",
        "tls-password: file:{here}/wrong is not the password of {here}/locked.both",
    ),
    "no password file": (
        "--tls-cert locked.both --tls-password file:nowhere",
        "tls-password: cannot read {here}/nowhere: no such file",
    ),
    "no variable": (
        "--tls-cert locked.both --tls-password env:NOT_THERE",
        "tls-password: there is no variable NOT_THERE",
    ),
    "ciphers": (
        "--tls-cert good.both --tls-ciphers ROT13",
        "tls-ciphers: OpenSSL knows no cipher called 'ROT13'",
    ),
    "no authority": (
        "--tls-cert good.both --tls-client required",
        "tls-client optional or required and tls-ca belong together",
    ),
    "authority alone": ("--tls-cert good.both --tls-ca ca.pem", "belong together"),
    "no certificates in it": (
        "--tls-cert good.both --tls-client required --tls-ca good.key",
        "tls-ca: {here}/good.key holds no certificates in PEM",
    ),
    "key alone": ("--tls-key good.key", "tls-key means nothing without tls-cert"),
    "client alone": ("--tls-client optional", "tls-client means nothing without tls-cert"),
}


def config(*words: str) -> Config:
    return resolve([parse_arguments(words)[0]]).config


def loaded(here: Path, *words: str) -> Credentials:
    planned = make_tls_plan(config(*words), str(here))
    assert planned is not None
    return read_credentials(planned)


@pytest.mark.parametrize("case", list(WRONG))
def test_an_error_is_one_line(case: str, folder: Path) -> None:
    words, complaint = WRONG[case]
    with pytest.raises(UsageError) as caught:
        loaded(folder, *words.split())
    assert complaint.format(here=folder) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_a_machine_error(ca: Authority, tmp_path: Path) -> None:
    (tmp_path / "closed.pem").touch(0o000)
    with pytest.raises(MachineError, match=r"cannot read .*closed.pem: permission denied"):
        loaded(tmp_path, "--tls-cert", "closed.pem")


def test_there_is_no_plan_without_certificates() -> None:
    assert make_tls_plan(Config(), "/") is None


def test_paths_are_absolute(folder: Path) -> None:
    words = "--tls-cert good.pem --tls-key good.key --tls-cert /x.pem,key=y --tls-password file:w"
    planned = make_tls_plan(config(*words.split()), "/here")
    assert planned is not None
    assert planned.file_paths() == [
        "/here/good.pem",
        "/here/good.key",
        "/x.pem",
        "/here/y",
        "/here/w",
    ]


def test_a_failed_reload_of_the_files_changes_nothing(tmp_path: Path) -> None:
    made = Authority(tmp_path)
    one, two = made.issue("one", "a.test"), made.issue("two", "b.test")
    credentials = loaded(tmp_path, "--tls-cert", "one.both")
    files = credentials.plan.file_paths()
    assert credentials.context.certificate.names == ("a.test",)
    assert credentials.file_stamps == read_file_stamps(files)
    one.both.write_bytes(two.both.read_bytes() + b"\n")
    assert credentials.file_stamps != read_file_stamps(files)
    credentials.reload()
    assert credentials.context.certificate.names == ("b.test",)
    context = credentials.context
    one.both.unlink()
    assert read_file_stamps(files) == [None]
    with pytest.raises(UsageError):
        credentials.reload()
    assert credentials.context is context


def test_the_context_has_the_settings_of_the_plan(folder: Path) -> None:
    words = "--tls-cert good.both --tls-client optional --tls-ca ca.pem --tls-minimum 1.3"
    context = loaded(folder, *words.split()).context
    assert context.verify_mode is ssl.CERT_OPTIONAL
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert 0x1301 in context.cipher_numbers.values()


def good_plan(folder: Path) -> TlsPlan:
    made = make_tls_plan(
        resolve([parse_arguments(["--tls-cert", "good.both"])[0]]).config, str(folder)
    )
    assert made is not None
    return made


def test_a_reload_keeps_the_context_for_a_day(folder: Path) -> None:
    made = good_plan(folder)
    credentials = read_credentials(made)
    assert credentials.is_current_for(made)
    assert not credentials.is_current_for(replace(made, minimum="1.3"))
    now = read_file_stamps(made.file_paths())
    os.utime(folder / "good.both", ns=(1, 1))
    assert not credentials.is_current_for(made)
    credentials.file_stamps = read_file_stamps(made.file_paths())
    assert credentials.file_stamps != now
    assert credentials.is_current_for(made)
    credentials.loaded_at -= MAX_CONTEXT_AGE
    assert not credentials.is_current_for(made)


def test_suites_without_aead_are_off_unless_they_are_named(
    folder: Path,
) -> None:
    made = good_plan(folder)
    ciphers = read_credentials(made).context.get_ciphers()
    assert {cipher["protocol"] for cipher in ciphers} == {"TLSv1.2", "TLSv1.3"}
    assert all(cipher["aead"] for cipher in ciphers)
    named = read_credentials(
        replace(made, ciphers="ECDHE-ECDSA-AES256-SHA384")
    ).context.get_ciphers()
    assert "ECDHE-ECDSA-AES256-SHA384" in {cipher["name"] for cipher in named}
