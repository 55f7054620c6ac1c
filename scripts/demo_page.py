"""The collection that `scripts/demo --page` opens in a browser: the pictures, with what they show."""

import base64
import threading
from urllib.parse import quote_plus

import httpx
from demo_subjects import Subject

AT_ONCE = 64


def fill(address: str, key: str, subject: Subject) -> int:
    """Make the collection at a gateway, and add the pictures; returns how many there are.

    Raises:
        SystemExit: one was not added.
        httpx.HTTPStatusError: the gateway refuses a call.
    """
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=f"{address}/v1", headers=headers, timeout=120) as client:
        client.post("/collections", json={"name": subject.name}).raise_for_status()
        for start in range(0, len(subject.pictures), AT_ONCE):
            items = [
                {
                    "id": path.stem,
                    "source": path.name,
                    "caption": subject.captions.get(path.stem, ""),
                    "image": base64.b64encode(path.read_bytes()).decode(),
                }
                for path in subject.pictures[start : start + AT_ONCE]
            ]
            answer = client.post(f"/collections/{subject.name}/items", json={"items": items})
            if failed := [
                one for one in answer.raise_for_status().json()["items"] if one["status"] != "added"
            ]:
                raise SystemExit(f"demo: {failed[0]['id']} was not added: {failed[0]['message']}")
    return len(subject.pictures)


def keep_open(address: str, key: str, subject: Subject) -> None:
    """Say where the page is, and wait for Ctrl-C."""
    print(f"page: {address}/ui/?c={subject.name}&q={quote_plus(subject.query)}", flush=True)
    print(f"key:  {key}   (the page asks for it)", flush=True)
    print("Ctrl-C ends it", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print(flush=True)
