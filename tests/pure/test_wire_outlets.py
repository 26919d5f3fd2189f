"""What master and log writer say to each other."""

from dataclasses import asdict

from prefork.wire.outlets import Outlet, message, read


def test_an_outlet_is_read_as_it_was_written() -> None:
    outlet = Outlet(number=7, slot=0, pid=4711, stream="err")
    say, details = read(message("outlet", **asdict(outlet)))
    assert (say, Outlet(**details)) == ("outlet", outlet)
