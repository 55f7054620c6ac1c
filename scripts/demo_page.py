"""The collection that `scripts/demo --page` opens in a browser: the held-out drawings, with their names."""

import base64
import json
import threading
from pathlib import Path

import httpx

COLLECTION = "drawings"
AT_ONCE = 64


def fill(address: str, key: str, samples: Path) -> int:
    """Make the collection at a gateway, and add the drawings; returns how many there are.

    Raises:
        SystemExit: one was not added.
        httpx.HTTPStatusError: the gateway refuses a call.
    """
    names = json.loads((samples / "captions.json").read_text(encoding="utf-8"))["names"]["en"]
    english = {"-".join(f"{ord(char):x}" for char in emoji): name for emoji, name in names.items()}
    paths = sorted(samples.glob("*.png"))
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=f"{address}/v1", headers=headers, timeout=120) as client:
        client.post("/collections", json={"name": COLLECTION}).raise_for_status()
        for start in range(0, len(paths), AT_ONCE):
            items = [
                {
                    "id": path.stem,
                    "source": path.name,
                    "caption": english.get(path.stem, ""),
                    "image": base64.b64encode(path.read_bytes()).decode(),
                }
                for path in paths[start : start + AT_ONCE]
            ]
            answer = client.post(f"/collections/{COLLECTION}/items", json={"items": items}).raise_for_status()
            if failed := [one for one in answer.json()["items"] if one["status"] != "added"]:
                raise SystemExit(f"demo: {failed[0]['id']} was not added: {failed[0]['message']}")
    return len(paths)


def keep_open(address: str, key: str) -> None:
    """Say where the page is, and wait for Ctrl-C."""
    print(f"page: {address}/ui/?c={COLLECTION}&q=red+fruit", flush=True)
    print(f"key:  {key}   (the page asks for it)", flush=True)
    print("Ctrl-C ends it", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print(flush=True)
