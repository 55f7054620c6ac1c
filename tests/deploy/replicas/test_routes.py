"""What is read of HTTPRoute and GRPCRoute, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.support.routing import documents
from deploy.haproxy.configuration import render
from deploy.haproxy.endpoints import EndpointError, read_endpoints
from deploy.haproxy.routes import Match, RouteError, Rule, read_routes
from tests.places import REPOSITORY

FOLDER = REPOSITORY / "deploy" / "haproxy"
VERSIONS = {"blue": "1.0", "green": "2.0"}
ENDPOINTS = read_endpoints(yaml.safe_load((FOLDER / "endpoints.yaml").read_text()))
Route = dict[str, Any]


def http_route(**spec: Any) -> Route:
    """An HTTPRoute of one rule to blue, with these fields of its spec in their place."""
    route = documents({"blue": 1}, VERSIONS)[0]
    route["spec"] = {"rules": [{"backendRefs": [{"name": "babelclip-blue", "port": 8000}]}], **spec}
    return route


def rule(**fields: Any) -> Route:
    """The same with these fields of its rule."""
    backends = [{"name": "babelclip-blue", "port": 8000}]
    return http_route(rules=[{"backendRefs": backends, **fields}])


def test_the_tracks_of_the_example_are_read() -> None:
    """deploy/haproxy has the routes of two tracks: those who name one, then all others by weight."""
    text = (FOLDER / "routes.yaml").read_text()
    http, grpc = read_routes(yaml.safe_load_all(text))
    assert (http.transport, grpc.transport) == ("http", "grpc")
    named = [
        ({name: value}, track)
        for track, pair in (
            ("blue", {"Babelclip-Track": "blue", "Babelclip-Version": "1.0"}),
            ("green", {"Babelclip-Track": "green", "Babelclip-Version": "2.0"}),
        )
        for name, value in pair.items()
    ]
    expected = [Rule(Match(tuple(headers.items())), {f"babelclip-{track}": 1}) for headers, track in named]
    expected.append(Rule(Match(), {"babelclip-blue": 90, "babelclip-green": 10}))
    assert http.rules == grpc.rules == tuple(expected)


def test_other_documents_are_passed_over() -> None:
    """A whole rendered chart may be given: Deployments, Services and empty documents are no routes."""
    others = [None, {"apiVersion": "v1", "kind": "Service"}, {"apiVersion": "apps/v1", "kind": "HTTPRoute"}]
    assert read_routes(others) == []


def test_the_more_exact_match_wins() -> None:
    """As the Gateway API has it: whole paths, longer prefixes, more headers; then the order of the rules."""
    header = {"name": "x", "value": "1"}
    matches = [
        {},
        {"headers": [header]},
        {"path": {"value": "/v1"}},
        {"path": {"type": "Exact", "value": "/v1"}, "headers": [header]},
    ]
    (route,) = read_routes([rule(matches=matches)])
    assert [(one.match.path, one.match.exact, len(one.match.headers)) for one in route.rules] == [
        ("/v1", True, 1),
        ("/v1", False, 0),
        ("/", False, 1),
        ("/", False, 0),
    ]


def test_methods_of_grpc_are_paths() -> None:
    """A method is matched as what it is on the wire: /SERVICE/METHOD, or all of a service."""
    route = documents({"blue": 1}, VERSIONS)[1]
    service = "babelclip.v1.Embedder"
    methods = [{"method": {"service": service}}, {"method": {"service": service, "method": "Embed"}}]
    route["spec"]["rules"] = [{"matches": methods, "backendRefs": [{"name": "babelclip-blue"}]}]
    (found,) = read_routes([route])
    assert [(one.match.path, one.match.exact) for one in found.rules] == [
        (f"/{service}/Embed", True),
        (f"/{service}", False),
    ]


def test_the_longest_timeout_counts() -> None:
    """Timeouts are of a rule there and of everything here."""
    (route,) = read_routes([rule(timeouts={"request": "2m30s", "backendRequest": "500ms"})])
    assert route.seconds == 150.0
    assert "timeout server 150000ms" in render([route], ENDPOINTS)


@pytest.mark.parametrize(
    ("route", "says"),
    [
        (rule(filters=[{"type": "RequestRedirect"}]), r"rules\[0\]\.filters is not translated"),
        (rule(matches=[{"method": "GET"}]), r"matches\[0\]\.method is not translated"),
        (rule(matches=[{"path": {"type": "RegularExpression", "value": "/"}}]), "PathPrefix or Exact"),
        (rule(matches=[{"path": {"value": "no path"}}]), "no path of a URL"),
        (rule(matches=[{"headers": [{"type": "RegularExpression", "name": "x", "value": "y"}]}]), "Exact"),
        (rule(matches=[{"headers": [{"name": "x y", "value": "y"}]}]), "no name of a header"),
        (rule(matches=[{"headers": [{"name": "x", "value": "a\nuse_backend evil"}]}]), "printable ASCII"),
        (rule(backendRefs=[{"name": "babelclip-blue", "weight": -1}]), "weight must be from 0"),
        (rule(backendRefs=[{"name": "babelclip-blue", "weight": True}]), "weight must be from 0"),
        (rule(backendRefs=[{"name": "babelclip blue"}]), "name of a Service"),
        (rule(backendRefs=[{"name": "s3", "kind": "Bucket"}]), "must be a Service"),
        (rule(backendRefs=[{"name": "other", "namespace": "x"}]), "namespace is not translated"),
        (rule(timeouts={"request": "soon"}), "must be a duration"),
        (http_route(hostnames=["no host"]), "neither a host's name"),
        (http_route(rules={}), "must be a list"),
    ],
)
def test_what_cannot_be_translated_is_refused_by_its_name(route: Route, says: str) -> None:
    """A part that is passed over would send requests where nobody wants them, or open the file to a value."""
    with pytest.raises(RouteError, match=says):
        read_routes([route])


def test_a_service_without_endpoints_is_named() -> None:
    """A route to nowhere is found when the file is written, and not by callers."""
    with pytest.raises(RouteError, match="babelclip-red"):
        render(read_routes([rule(backendRefs=[{"name": "babelclip-red"}])]), ENDPOINTS)
    with pytest.raises(RouteError, match="no HTTPRoute"):
        render([], ENDPOINTS)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda one: one.update(address="blue.example.org"), "must be an IP address"),
        (lambda one: one.update(name="blue 1"), "up to 63 letters"),
        (lambda one: one.update(http=0), "must be a port"),
        (lambda one: one.pop("grpc"), "must have address, grpc, http, name"),
    ],
)
def test_wrong_endpoints_are_refused(change: Callable[[dict[str, Any]], object], says: str) -> None:
    """The message names the replica and the field."""
    content = yaml.safe_load((FOLDER / "endpoints.yaml").read_text())
    change(content["babelclip-blue"][1])
    with pytest.raises(EndpointError, match=says) as refused:
        read_endpoints(content)
    assert "babelclip-blue[1]" in str(refused.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2_000_000) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                (
                    "matches",
                    "headers",
                    "path",
                    "backendRefs",
                    "name",
                    "value",
                    "type",
                    "weight",
                    "rules",
                    "hostnames",
                )
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=60)
@given(spec=JSON)
def test_any_document_is_read_or_refused(spec: Any) -> None:
    """Whatever stands in a route, it is translated or refused by a sentence; no line is smuggled in."""
    route = documents({"blue": 1}, VERSIONS)[0]
    route["spec"] = spec
    try:
        written = render(read_routes([route]), ENDPOINTS)
    except RouteError:
        return
    known = ("use_backend ", "http-request ", "acl ", "bind ", "default_backend ", "frontend ")
    frontend = written.partition("frontend ")[2].partition("\n\n")[0].splitlines()[1:]
    assert all(line.strip().startswith(known) for line in frontend)
