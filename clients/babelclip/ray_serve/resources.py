"""What each tower of a version gets of a cluster."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

# How long a replica that is to end may take to answer what it has.
DRAIN_SECONDS = 60.0
# What of the launcher's environment handlers look at; a replica may be on another machine.
_PASSED_ON = ("BABELCLIP_DEVICE", "BABELCLIP_DTYPE", "BABELCLIP_RUNTIME")


@dataclass(frozen=True)
class Resources:
    """What each tower of a version gets.

    Attributes:
        replicas: of each tower, at least.
        max_replicas: with more than `replicas`, that many under load.
        cpus, gpus: of each replica, as Ray counts them: shares, too. Without `cpus` replicas share the cores.
        hpus: Gaudi cards of each replica.
        target_ongoing: requests that a replica has on average before another one is started.
        max_ongoing: requests that a replica has at a time: those of the batch that is computed, and the next.

    Raises:
        ValueError: one is out of range, or two contradict each other.
    """

    replicas: int = 1
    max_replicas: int = 0
    cpus: float = 0.0
    gpus: float = 0.0
    hpus: float = 0.0
    target_ongoing: float = 32.0
    max_ongoing: int = 128

    def __post_init__(self) -> None:
        if self.replicas < 1:
            raise ValueError(f"each tower needs at least 1 replica, not {self.replicas}")
        if self.max_replicas and self.max_replicas < self.replicas:
            raise ValueError(f"at most {self.max_replicas} replicas are fewer than at least {self.replicas}")
        for name in ("cpus", "gpus", "hpus"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be 0 or more, not {getattr(self, name)}")
        for name in ("target_ongoing", "max_ongoing"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0, not {getattr(self, name)}")
        if self.gpus and self.hpus:
            raise ValueError("a replica runs on GPUs or on Gaudi, not on both")

    def options(self) -> dict[str, Any]:
        """The same as Ray Serve takes it for a deployment."""
        actor: dict[str, Any] = {"num_cpus": self.cpus}
        if self.gpus:
            actor["num_gpus"] = self.gpus
        if self.hpus:
            actor["resources"] = {"HPU": self.hpus}
        options: dict[str, Any] = {
            "ray_actor_options": actor,
            "max_ongoing_requests": self.max_ongoing,
            "graceful_shutdown_timeout_s": DRAIN_SECONDS,
            "graceful_shutdown_wait_loop_s": 0.2,
        }
        if self.max_replicas > self.replicas:
            options["autoscaling_config"] = {
                "min_replicas": self.replicas,
                "max_replicas": self.max_replicas,
                "target_ongoing_requests": self.target_ongoing,
            }
        else:
            options["num_replicas"] = self.replicas
        return options

    def environment(self) -> dict[str, str]:
        """The variables by which a handler learns of its device, and how many share the machine with it."""
        found = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        # Replicas that have cores of their own are spread over the machines by them.
        if not (self.cpus or self.gpus or self.hpus):
            found["BABELCLIP_WORKERS"] = str(max(self.replicas, self.max_replicas))
        if self.hpus:
            found["BABELCLIP_DEVICE"] = "hpu"
        return found
