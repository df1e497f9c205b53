"""Says once where this process cannot be told from another in the metrics: then no sum of its counters is right.

Backends tell the counters of processes apart by `service.instance.id` alone. OpenTelemetry's SDK gives one to each
process from 1.43 on, and to a forked child from 1.44 on; before that it is missing, or shared with whoever forked it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from opentelemetry.metrics import get_meter_provider

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider

    from realtime_spend.containment import Containment

# A Prometheus that fetches the metrics sets their label `instance` itself, to the address that it fetches them from.
_SCRAPED = "opentelemetry.exporter.prometheus."
_INSTANCE_ID = "service.instance.id"
_MISSING = (
    "the metrics of this process have no service.instance.id, so that its counters run into those of other processes "
    "and their sums are wrong. Use opentelemetry-sdk 1.43 or newer, or give every process an id of its own: "
    "OTEL_RESOURCE_ATTRIBUTES=service.instance.id=<a UUID>. The ledger is not affected"
)
_SHARED = (
    "the metrics of this process have the service.instance.id of the process that forked it, so that their counters "
    "run into each other and their sums are wrong. Use opentelemetry-sdk 1.44 or newer, leave service.instance.id out "
    "of OTEL_RESOURCE_ATTRIBUTES, or make the meter provider in the child (gunicorn: without preload, or in "
    "post_fork). The ledger is not affected"
)


class Identity:
    """Looks at the identity of a process when it opens a session: one that meters nothing harms no sum."""

    def __init__(self, provider: MeterProvider, containment: Containment) -> None:
        self._provider, self._containment = provider, containment
        self._checked_by: int | None = None
        # The process that forked this one, and the id that it had then.
        self._forked_from: tuple[int, str | None] | None = None
        _ALL.add(self)

    def look(self) -> None:
        """As a session is opened: look at the identity, once in each process."""
        if self._checked_by != os.getpid():
            self.check()

    def check(self) -> None:
        """Log a warning where the id is missing or shared. Without a provider that tells, the next session asks."""
        try:
            attributes = self._attributes()
            if attributes is None:
                return
            self._checked_by = process = os.getpid()
            instance = attributes.get(_INSTANCE_ID)
            if not instance:
                self._containment.say_once(_INSTANCE_ID, _MISSING)
            elif self._forked_from is not None and self._forked_from[0] != process and self._forked_from[1] == instance:
                self._containment.say_once(f"shared {_INSTANCE_ID}", _SHARED)
        except Exception:  # noqa: BLE001 - the host is opening a connection
            self._containment.failed("looking_at_the_instance_id")

    def remember(self) -> None:
        """Before a fork: keep what the child must not have."""
        attributes = self._attributes()
        self._forked_from = None if attributes is None else (os.getpid(), attributes.get(_INSTANCE_ID))

    def _attributes(self) -> Any:
        """Return the attributes of the resource, None where nobody tells: the SDK has no public name for it yet."""
        # What we were given may be a proxy from before the program set its provider.
        for provider in (self._provider, get_meter_provider()):
            configuration = getattr(provider, "_sdk_config", None)
            readers = getattr(provider, "_metric_readers", getattr(configuration, "metric_readers", None))
            if readers is not None and all(map(_is_scraped, readers)):
                # Nothing leaves this process, whoever it may be, or nothing that is told apart by the id.
                return None
            resource = getattr(provider, "resource", None) or getattr(configuration, "resource", None)
            attributes = getattr(resource, "attributes", None)
            if hasattr(attributes, "get"):
                return attributes
        return None


def _is_scraped(reader: object) -> bool:
    # By its name, since the exporter need not be installed; and so is what a program has derived from it.
    return any(f"{kind.__module__}.".startswith(_SCRAPED) for kind in type(reader).__mro__)


_ALL: WeakSet[Identity] = WeakSet()


def _before_fork() -> None:
    for identity in list(_ALL):
        # The fork is the host's, and it goes on whatever its provider is.
        with suppress(Exception):
            identity.remember()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork)
