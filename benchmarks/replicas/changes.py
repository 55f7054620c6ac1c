"""What happens to the replicas while callers call: promotions, and everything that fails in a night."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.support.haproxy import Proxy
from benchmarks.support.replicas import Replica, ReplicaError
from benchmarks.support.routing import Routing, backend_of

Make = Callable[[str, str], Replica]
"""A track and a name → a replica of it that is not started."""


@dataclass(frozen=True)
class Change:
    """When something was begun and was over, in seconds of the monotonic clock."""

    what: str
    begin: float
    end: float


@dataclass
class Operator:
    """Does one thing after the other; blocks until each is over.

    Args:
        routing, proxy: the way of the callers, and the proxy that has it.
        make: makes a further replica.
        versions: of each track: what its replicas must say that they serve.
        modest: whether a replica starts after all others for the cores.

    Attributes:
        changes: what was done.
        found_out: seconds from a fault to its replica's end of service, by the fault.
    """

    routing: Routing
    proxy: Proxy
    make: Make
    versions: dict[str, str]
    steps: Sequence[int]
    pause: float
    modest: bool
    changes: list[Change] = field(default_factory=list)
    found_out: dict[str, float] = field(default_factory=dict)

    def rest(self) -> None:
        """Nothing happens for a while."""
        time.sleep(self.pause)

    def switch(self, track: str) -> None:
        """Move the route to a track, whose replicas have proved themselves, in steps by weight."""
        begin = time.monotonic()
        for replica in self.routing.replicas[track]:
            self._prove(track, replica)
        (other,) = set(self.versions) - {track}
        for step in self.steps:
            self.routing.weights = {track: step, other: 100 - step}
            self._apply()
            time.sleep(self.pause / len(self.steps))
        self._done("switch", begin)

    def kill(self, track: str, place: int) -> None:
        """A machine is lost, and comes back."""
        replica, begin = self.routing.replicas[track][place], time.monotonic()
        replica.kill()
        self._wait_out("killed", track, replica, begin)
        self._start(track, replica)
        self._done("killed", begin)

    def hang(self, track: str, place: int) -> None:
        """A replica keeps its connections and answers nothing; after a while it goes on."""
        replica, begin = self.routing.replicas[track][place], time.monotonic()
        replica.hang()
        self._wait_out("hung", track, replica, begin)
        time.sleep(self.pause)
        replica.resume()
        self.proxy.wait_status(backend_of(track), replica.name, up=True)
        self._done("hung", begin)

    def spoil(self, track: str, place: int) -> None:
        """A replica gives wrong vectors; it is stopped, and started again."""
        replica, begin = self.routing.replicas[track][place], time.monotonic()
        replica.spoil()
        self._wait_out("wrong vectors", track, replica, begin)
        replica.stop()
        self._start(track, replica)
        self._done("wrong vectors", begin)

    def roll(self) -> int:
        """Replace all, one after the other, as a Deployment does: the new one is there before the old goes.

        Returns:
            How many were replaced.
        """
        count = 0
        for track, replicas in self.routing.replicas.items():
            for old in list(replicas):
                begin = time.monotonic()
                new = self.make(track, f"{old.name}-new")
                new.start(modest=self.modest)
                self._prove(track, new)
                replicas[replicas.index(old)] = new
                self._apply()
                self.proxy.wait_left()  # Who kept a connection may still have been led to the old one.
                old.stop()
                self._done("rolling restart", begin)
                count += 1
                self.rest()
        return count

    def _start(self, track: str, replica: Replica) -> None:
        replica.start(modest=self.modest)
        self._prove(track, replica)
        self.proxy.wait_status(backend_of(track), replica.name, up=True)

    def _prove(self, track: str, replica: Replica) -> None:
        version, _ = replica.proved()
        if version != self.versions[track]:
            raise ReplicaError(f"{replica.name} of the track {track} serves version {version}")

    def _apply(self) -> None:
        self.proxy.reload(self.routing.configure(self.proxy.folder))

    def _wait_out(self, fault: str, track: str, replica: Replica, begin: float) -> None:
        self.proxy.wait_status(backend_of(track), replica.name, up=False)
        self.found_out[fault] = round(time.monotonic() - begin, 2)

    def _done(self, what: str, begin: float) -> None:
        self.changes.append(Change(what, begin, time.monotonic()))
