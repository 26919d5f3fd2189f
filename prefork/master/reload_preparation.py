"""The preparation of a reload: the settings are read, checked and made a generation.

Nothing has changed before all of it has succeeded.
"""

from collections.abc import Callable
from dataclasses import dataclass

from prefork.config import Config
from prefork.config.settings_diff import keep_restart_options, list_restart_changes
from prefork.errors import PreforkError, UsageError
from prefork.master.generation import Generation, Generations
from prefork.master.status_settings import StatusSettings, read_status_settings
from prefork.unix.listeners import check_address


class UnrollableError(UsageError):
    """A reload to these settings is of no use, although they are right."""


@dataclass(frozen=True, slots=True)
class PreparedReload:
    """A reload that can begin. ``needs_restart``: the changed options that it cannot change."""

    generation: Generation
    status_settings: StatusSettings
    needs_restart: list[str]


@dataclass(frozen=True, slots=True)
class AcceptedReload:
    """A reload that was requested. ``needs_restart``: as in PreparedReload."""

    generation: int
    needs_restart: list[str]


@dataclass(frozen=True, slots=True)
class ReloadPreview:
    """The effect that a reload would have now.

    ``wanted``: the settings as they are read now. ``obstacle``: why a reload is of no use; empty:
    it is of use. ``refusal``: why a reload would be refused; None: it would begin.
    ``restart_refusal``: why a new master would not start; None: nothing is known against it.
    """

    wanted: Config
    obstacle: str
    refusal: PreforkError | None
    restart_refusal: PreforkError | None


class ReloadPreparation:
    """Prepares the reloads of one master.

    ``read_settings``: reads file, environment and flags anew. ``find_obstacle``: returns why a
    reload to these settings is of no use.
    """

    def __init__(
        self,
        read_settings: Callable[[], Config],
        start_dir: str,
        generations: Generations,
        find_obstacle: Callable[[Config], str],
    ) -> None:
        self._read_settings = read_settings
        self._start_dir = start_dir
        self._generations = generations
        self._find_obstacle = find_obstacle

    def prepare(self, current: int) -> PreparedReload:
        """Prepare a reload from the generation ``current``.

        Raises PreforkError: UnrollableError if it would be of no use.
        """
        in_force = self._generations[current].config
        wanted = self._read_settings()
        config = keep_restart_options(in_force, wanted)
        if obstacle := self._find_obstacle(config):
            raise UnrollableError(obstacle)
        status_settings = read_status_settings(config, self._start_dir)
        generation = self._generations.prepare(config, self._start_dir, current)
        return PreparedReload(generation, status_settings, list_restart_changes(in_force, wanted))

    def preview(self, current: int) -> ReloadPreview:
        """Return what a reload from the generation ``current`` would do, and change nothing.

        Raises PreforkError if the settings cannot be read.
        """
        in_force = self._generations[current].config
        wanted = self._read_settings()
        config = keep_restart_options(in_force, wanted)
        refusal = restart_refusal = _catch(lambda: self._check(config))
        status = wanted.status
        if refusal is None and status is not None and status != in_force.status:
            restart_refusal = _catch(lambda: check_address(status))
        return ReloadPreview(wanted, self._find_obstacle(wanted), refusal, restart_refusal)

    def _check(self, config: Config) -> None:
        read_status_settings(config, self._start_dir)
        self._generations.check(config, self._start_dir)


def _catch(check: Callable[[], None]) -> PreforkError | None:
    """Return the error that a check raises; None: it raises none."""
    try:
        check()
    except PreforkError as error:
        return error
    return None
