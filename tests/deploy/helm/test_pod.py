"""The pod: the image's places, settings as the gateway reads them, models from everywhere, probes."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import PREFIX, read
from tests.deploy.dockerfile import environment, stages
from tests.deploy.helm.charts import Document, documents, example, of_kind, pods

SUM = "0123456789abcdef" * 4


def pod(name: str, *sets: str) -> Document:
    """The pod of an example that has one track."""
    (found,) = of_kind(documents(example(name), sets=sets), "Deployment").values()
    spec: Document = found["spec"]["template"]["spec"]
    return spec


def variables(spec: Document) -> dict[str, Any]:
    """The environment of its server."""
    return {
        entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in spec["containers"][0]["env"]
    }


def mounts(spec: Document) -> dict[str, Document]:
    """What is mounted in its server, by place, with its volume."""
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    return {
        one["mountPath"]: {**volumes[one["name"]], **one} for one in spec["containers"][0]["volumeMounts"]
    }


def test_all_that_is_written_to_is_mounted() -> None:
    """The root is read-only: what the image names as places to write to, and /tmp, are volumes."""
    found = mounts(pod("cpu"))
    for place in ("/var/lib/babelclip", "/run/babelclip", "/tmp"):
        assert not found[place].get("readOnly", False)
        assert "emptyDir" in found[place]
        assert found[place]["emptyDir"]["sizeLimit"]
    for variable in ("XDG_CACHE_HOME", "BABELCLIP_TOKEN_FILE", "BABELCLIP_STATE_DIR"):
        assert environment("cpu")[variable].startswith(tuple(found))
    assert "persistentVolumeClaim" in mounts(pod("everything"))["/var/lib/babelclip"]


def test_the_user_is_the_images() -> None:
    """Files of the image belong to it, and volumes to a group that it is in."""
    context = pod("cpu")["securityContext"]
    (user,) = stages()["runtime"].all("USER")
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == user
    assert context["fsGroup"]


def test_settings_reach_the_gateway_as_they_were_written() -> None:
    """Whole numbers stay whole, however large; lists, truth and fractions are read by the gateway itself."""
    found = pod("everything")
    given = {name: value for name, value in variables(found).items() if name.startswith(PREFIX)}
    images = {name: value for name, value in environment("cpu").items() if name.startswith(PREFIX)}
    settings = read(None, {**images, **given})
    assert settings.cache_mb == 512
    assert settings.max_body_bytes == 67_108_864
    assert settings.max_wait == 0.5
    assert settings.log_requests is False
    assert settings.image_url_hosts == ("images.example.org", "*.cdn.example.org")
    assert settings.workers == 4
    assert settings.metrics_host == "0.0.0.0"
    places = mounts(found)
    for path in (settings.keys_file, settings.tls_certificate, settings.tls_key, settings.versions_file):
        assert path.rpartition("/")[0] in places
    (calibrations,) = settings.calibrations
    assert calibrations.rpartition("/")[0] in places


def test_the_file_of_settings_is_where_the_image_looks(tmp_path: Path) -> None:
    """A table of models can only be given by a file; a change of it is one of the pods."""
    found = documents(example("everything"))
    content = of_kind(found, "ConfigMap")["clip"]["data"]["gateway.toml"]
    (deployment,) = of_kind(found, "Deployment").values()
    place = mounts(deployment["spec"]["template"]["spec"])["/etc/babelclip"]
    assert place["configMap"] == {"name": "clip"}
    file = tmp_path / "gateway.toml"
    file.write_text(content)
    assert read(file, {}).models["clip"].languages == ("de", "en", "ru")
    assert tomllib.loads(content)
    assert "checksum/config" in deployment["spec"]["template"]["metadata"]["annotations"]


def test_keys_are_the_same_on_all_replicas() -> None:
    """They come from one Secret, a folder so that a change of it arrives, where nobody can write."""
    found = pod("cpu")
    place = mounts(found)["/run/secrets/babelclip-keys"]
    assert place["readOnly"] is True
    assert "subPath" not in place
    assert place["secret"]["secretName"] == "babelclip-keys"
    assert place["secret"]["items"] == [{"key": "keys.json", "path": "keys.json"}]
    assert variables(found)[f"{PREFIX}KEYS_FILE"] == "/run/secrets/babelclip-keys/keys.json"


def test_versions_are_no_file_of_one_replica() -> None:
    """A promotion in one pod would leave the others behind; a volume or a ConfigMap is one for all."""
    name = f"{PREFIX}VERSIONS_FILE"
    assert variables(pod("cpu"))[name] == ""
    assert name not in variables(pod("cpu", "state.claim=shared"))
    assert variables(pod("everything"))[name] == "/etc/babelclip-versions/versions.json"


def test_models_from_a_claim() -> None:
    """It is mounted read-only, or a folder of it."""
    place = mounts(pod("cpu", "models.claim.subPath=clip/1"))["/models"]
    assert place["persistentVolumeClaim"] == {"claimName": "babelclip-models", "readOnly": True}
    assert (place["subPath"], place["readOnly"]) == ("clip/1", True)


def test_models_from_an_image() -> None:
    """Copied by an init container of that image, or mounted as an image volume."""
    for deployment in of_kind(documents(example("tracks")), "Deployment").values():
        spec = deployment["spec"]["template"]["spec"]
        (copy,) = spec["initContainers"]
        assert copy["command"] == ["cp", "-R", "/models/.", "/store/"]
        assert copy["volumeMounts"] == [{"name": "models", "mountPath": "/store"}]
        assert mounts(spec)["/models"]["readOnly"] is True
    found = pod("cuda")
    assert "initContainers" not in found
    place = mounts(found)["/models"]
    assert place["image"]["reference"] == "registry.example.org/babelclip-models:clip-1.0"
    assert "subPath" not in place
    assert mounts(pod("cuda", "models.image.path=/srv/models"))["/models"]["subPath"] == "srv/models"


def test_models_from_a_server() -> None:
    """Fetched before the start by the server's own image, and read-only for the server."""
    found = pod("everything")
    (fetch,) = found["initContainers"]
    script = "/opt/babelclip/scripts/fetch_models.py"
    assert fetch["args"] == ["python", script, "$(MODELS_URL)", "--store=/models", f"--sha256={SUM}"]
    assert fetch["env"][0]["value"] == "https://models.example.org/clip/manifest.json"
    assert fetch["image"] == found["containers"][0]["image"]
    assert mounts(found)["/models"]["readOnly"] is True


def test_the_address_of_models_may_be_a_secret(tmp_path: Path) -> None:
    """One that opens something stands neither in the values nor in the render."""
    values = tmp_path / "values.yaml"
    values.write_text(
        f"keys: {{existingSecret: keys}}\nmodels: {{url: {{existingSecret: signed, sha256: {SUM}}}}}\n"
        "networkPolicy: {egress: [{ports: [{port: 443}]}]}\n"
    )
    (found,) = of_kind(documents(values), "Deployment").values()
    secret = found["spec"]["template"]["spec"]
    assert secret["initContainers"][0]["env"][0]["valueFrom"] == {
        "secretKeyRef": {"name": "signed", "key": "url"}
    }


def test_models_in_the_image() -> None:
    """Nothing hides them."""
    assert "/models" not in mounts(pod("keda"))


@pytest.mark.parametrize(
    ("name", "kind", "resource", "cards"),
    [("cuda", "cuda", "nvidia.com/gpu", 1), ("gaudi", "hpu", "habana.ai/gaudi", 2), ("cpu", "cpu", "", 0)],
)
def test_cards_are_asked_for_by_their_kind(name: str, kind: str, resource: str, cards: int) -> None:
    """The device plugin gives them, and a worker that finds none fails with a sentence."""
    found = pod(name)
    limits = found["containers"][0]["resources"]["limits"]
    assert variables(found)["BABELCLIP_DEVICE"] == kind
    assert limits.get(resource, 0) == cards
    others = {"nvidia.com/gpu", "habana.ai/gaudi"} - {resource}
    assert not others & limits.keys()


def test_gaudi_keeps_what_it_has_compiled() -> None:
    """Compiled programs lie on the volume of the state, and a start has time to compile."""
    found = pod("gaudi")
    folder = variables(found)["PT_HPU_RECIPE_CACHE_CONFIG"].partition(",")[0]
    assert folder.startswith("/var/lib/babelclip/")
    startup = found["containers"][0]["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 1500
    limits = found["containers"][0]["resources"]["limits"]
    assert limits["hugepages-2Mi"] == found["containers"][0]["resources"]["requests"]["hugepages-2Mi"]


def test_only_a_gateway_that_does_not_answer_ends_the_pod() -> None:
    """Towers that fail take the pod out of the Service; TorchServe starts its workers again by itself."""
    container = pod("cpu")["containers"][0]
    paths = {
        kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")
    }
    assert paths == {"startup": "/readyz", "readiness": "/readyz", "liveness": "/livez"}
    assert {container[f"{kind}Probe"]["httpGet"]["scheme"] for kind in paths} == {"HTTP"}
    secure = pod("everything")["containers"][0]
    assert {secure[f"{kind}Probe"]["httpGet"]["scheme"] for kind in paths} == {"HTTPS"}


def test_a_pod_that_ends_has_time_to_answer() -> None:
    """The gateway has time for what is under way, TorchServe for its end, proxies to learn of it before."""
    import serve

    found = pod("cpu")
    (_, pause) = found["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert found["terminationGracePeriodSeconds"] >= int(pause) + serve.DRAIN_SECONDS + serve.STOP_SECONDS


def test_a_start_has_the_time_that_serve_gives_it() -> None:
    """Neither the probe nor the rollout gives up before scripts/serve does."""
    import serve

    for name in ("cpu", "gaudi"):
        (deployment,) = of_kind(documents(example(name)), "Deployment").values()
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        given = serve.parse_options([*container.get("args", [])]).startup_timeout
        startup = container["startupProbe"]
        allowed = startup["periodSeconds"] * startup["failureThreshold"]
        assert given < allowed < deployment["spec"]["progressDeadlineSeconds"]


def test_pods_of_a_track_are_spread() -> None:
    """Each constraint counts the pods of its own track."""
    for name, deployment in of_kind(documents(example("tracks")), "Deployment").items():
        constraints = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
        assert [one["topologyKey"] for one in constraints] == [
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        ]
        for one in constraints:
            assert one["labelSelector"]["matchLabels"]["babelclip.io/track"] == name.rpartition("-")[2]


def test_the_test_of_a_release_asks_every_track() -> None:
    """`helm test` fails while a track's towers do not embed."""
    found = pods(documents(example("tracks")))["clip-babelclip-ready"]
    assert [one["args"][-1] for one in found["containers"]] == [
        "http://clip-babelclip-blue:8000/readyz",
        "http://clip-babelclip-green:8000/readyz",
    ]


@pytest.mark.parametrize("name", ["cpu", "everything"])
def test_a_services_variables_are_no_settings(name: str) -> None:
    """A Service babelclip-gateway would give every pod of its namespace BABELCLIP_GATEWAY_PORT=tcp://…"""
    assert pod(name)["enableServiceLinks"] is False
