"""The versions of a model store as applications of Ray Serve. The process has joined the cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from babelclip.errors import RegistryError
from babelclip.model_store.archives import archives
from babelclip.model_store.manifest import Entry, read_manifest
from babelclip.ray_serve.deployments import ServedTower, default_application, version_application
from babelclip.ray_serve.resources import Resources
from babelclip.transports.ray import application_name
from babelclip.transports.ray_handles import first_line, import_ray
from babelclip.wire import Tower


def served_entries(store: Path) -> list[Entry]:
    """The entries of the store that are to be served, the default one first.

    Raises:
        ManifestError: the folder is no model store, or has no default.
    """
    manifest = read_manifest(store)
    default = manifest.default
    return [default, *(entry for entry in manifest.entries if entry is not default and not entry.unproved)]


def start_serve() -> None:
    """Starts Ray Serve in the cluster unless it is there. Without its proxies: callers come by handles."""
    import_ray("ray.serve").start(proxy_location="Disabled")


def deploy(
    store: Path, entries: Sequence[Entry], name: str, resources: Resources, say: Callable[[str], None]
) -> list[str]:
    """Deploys the versions of these entries, each once both its towers have proved themselves; the first one
    becomes the default → the applications that were not there before.

    A version that runs is left as it is: under its name nothing else is ever served, and Ray Serve would
    start its replicas anew.

    Raises:
        RegistryError: a version could not be deployed; what was not there before is not there now.
    """
    serve = import_ray("ray.serve")
    before = serve.status().applications
    running = {under: found for under, found in before.items() if found.status.value == "RUNNING"}
    made: list[str] = []

    def run(application: object, under: str) -> None:
        if under not in before:
            made.append(under)
        serve.run(application, name=under, route_prefix=None)

    default = entries[0].version
    under = name
    try:
        for entry in entries:
            under = application_name(name, entry.version)
            if under in running:
                say(f"{under} runs already")
                continue
            run(version_application(served_towers(store, entry, resources), resources), under)
            say(f"space {entry.space} ({entry.name} {entry.version}): both towers agree with their archives")
        if name not in running or default not in running[name].deployments:
            run(default_application(default), name)
    except BaseException as error:
        problem = _problem(under)
        delete(made)
        if not isinstance(error, Exception):  # The process is to end.
            raise
        raise RegistryError(f"{under} could not be deployed: {problem or first_line(error)}") from error
    return made


def delete(applications: Sequence[str]) -> None:
    """Deletes these applications, each when its replicas have answered what they have."""
    serve = import_ray("ray.serve")
    for application in reversed(applications):
        serve.delete(application)


def remove(name: str, version: str) -> None:
    """Deletes a version that is not the default, when its replicas have answered what they have.

    Raises:
        RegistryError: it is not deployed, or is the default.
    """
    deployed = import_ray("ray.serve").status().applications
    under = application_name(name, version)
    if under not in deployed:
        there = ", ".join(sorted(deployed)) or "none"
        raise RegistryError(f"there is no application {under}; there are {there}")
    if name in deployed and version in deployed[name].deployments:
        raise RegistryError(
            f"{version} is the default of the cluster; first deploy a store whose manifest has another one"
        )
    delete([under])


def served_towers(store: Path, entry: Entry, resources: Resources) -> dict[Tower, ServedTower]:
    """What the replicas of both towers of an entry are made of."""
    environment = resources.environment()
    return {
        tower: ServedTower(
            tower,
            archive.path.resolve(),
            archive.sha256,
            entry.version,
            gpu=resources.gpus > 0,
            environment=environment,
        )
        for tower, archive in archives(store, entry).items()
    }


def _problem(application: str) -> str:
    """What Ray Serve says of a deployment that has none of the replicas that it should have."""
    try:
        found = import_ray("ray.serve").status().applications.get(application)
    except Exception:  # Then what was raised says more.
        found = None
    if found is None:
        return ""
    said = [deployment.message for deployment in found.deployments.values()] + [found.message]
    lines = [line.strip() for text in said for line in str(text).splitlines()]
    errors = [line for line in lines if line.startswith("babelclip.")]
    return errors[-1].partition(": ")[2] if errors else ""
