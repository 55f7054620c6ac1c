"""JSON bodies of calls that are not accepted, recognised by their shape, so that the refusal can say more.

A gateway in front may translate them; a tower takes what `ACCEPTED` says.
"""

from __future__ import annotations

from typing import Any

ACCEPTED = (
    'send {"inputs": ["…", …]} to /predictions/MODEL, {"instances": ["…", …]} to /v1/models/MODEL:predict '
    '(KServe V1), or {"input": ["…", …]} to /predictions/MODEL/VERSION/v1/embeddings (OpenAI); '
    "an image is base64 or a data URI"
)
# A key that only one kind of call has, and which call that is; the first that a body has decides.
_KEYS = {
    "messages": "a chat (messages)",
    "texts": "Cohere's embed call (texts)",
    "images": "Cohere's embed call (images)",
    "data": "Jina's or clip-as-service's (data)",
    "requests": "Google's batch of embedContent calls (requests)",
    "content": "Google's embedContent call (content)",
    "prompt": "a completion or Ollama's older call (prompt)",
}


def is_kserve_v2(body: Any) -> bool:
    """Whether a parsed JSON body is a request of KServe's V2 protocol (Open Inference): named tensors."""
    inputs = body.get("inputs") if isinstance(body, dict) else None
    if not isinstance(inputs, list) or not inputs or not isinstance(inputs[0], dict):
        return False
    return "datatype" in inputs[0] or {"name", "shape"} <= inputs[0].keys()


def refusal(body: Any) -> str:
    """A parsed JSON body of no accepted call → a sentence: which call it is, and what is accepted."""
    if is_kserve_v2(body):
        return f"KServe's V2 protocol (named tensors) is not spoken here; {ACCEPTED}"
    if not isinstance(body, dict):
        kind = "a list" if isinstance(body, list) else "no object"
        return f"the JSON body is {kind}, and must be an object; {ACCEPTED}"
    if "input" in body:
        return f"OpenAI's embeddings call (input) has an address of its own; {ACCEPTED}"
    for key, call in _KEYS.items():
        if key in body:
            return f"the body is of {call}, which is not spoken here; {ACCEPTED}"
    return f'the JSON body has none of "inputs", "instances" and "input"; {ACCEPTED}'


def of_objects(items: list[Any]) -> bool:
    """Whether all items that should be strings are objects, as Jina's and Cohere's calls have them."""
    return bool(items) and all(
        isinstance(item, dict) and not {"text", "image", "content"}.isdisjoint(item) for item in items
    )
