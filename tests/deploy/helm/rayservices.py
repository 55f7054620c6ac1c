"""The parts of the RayServices that the examples make."""

import yaml

from tests.deploy.helm.charts import Document, of_kind, ray_pods

EXAMPLES = ("ray", "ray-cuda", "ray-gaudi")
NAME = "clip-babelclip-main"
ROLES = ("head", "gateway", "towers")


def cluster(found: list[Document]) -> Document:
    """The cluster of the one RayService."""
    (service,) = of_kind(found, "RayService").values()
    made: Document = service["spec"]["rayClusterConfig"]
    return made


def group(found: list[Document], name: str) -> Document:
    """A group of workers."""
    (one,) = [group for group in cluster(found)["workerGroupSpecs"] if group["groupName"] == name]
    return dict(one)


def config(found: list[Document]) -> Document:
    """What Ray Serve is told."""
    (service,) = of_kind(found, "RayService").values()
    told: Document = yaml.safe_load(service["spec"]["serveConfigV2"])
    return told


def container(found: list[Document], role: str) -> Document:
    """Ray's container of a role, which is the first and only one."""
    (one,) = ray_pods(found)[NAME][role]["spec"]["containers"]
    return dict(one)
