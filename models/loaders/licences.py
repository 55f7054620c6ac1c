"""Under which licence public weights are published, where that says what may be done with them.

Of the families whose every publication has the same. An export says it, and its archives carry it; it is no
advice, and who publishes weights of their own under another licence may do what that says.
"""

NON_COMMERCIAL = "CC-BY-NC-4.0"
# By `model_type` of a Hugging Face config, that of a text model included.
PUBLISHED = {
    "metaclip_2": NON_COMMERCIAL,  # Meta's Meta CLIP 2
    "m2m_100": NON_COMMERCIAL,  # Meta's NLLB-200, which every nllb-clip is built on
}
# Apple's Machine Learning Research Model licence: for research, and for nothing else.
RESEARCH = "LicenseRef-apple-amlr"
_FORBIDDEN = {NON_COMMERCIAL: "not for commercial use", RESEARCH: "for research alone"}


def published(kind: str) -> str:
    """The licence of a family's published weights, by SPDX; "" where it restricts nobody, or is not known."""
    return PUBLISHED.get(kind, "")


def of_image_tower(architecture: str) -> str:
    """As `published`, by timm's name of an image tower: those made for MobileCLIP (mci) are Apple's alone."""
    return RESEARCH if "_mci" in architecture else ""


def warning(licence: str) -> str:
    """A licence that forbids a use, in a sentence."""
    return f"licence: weights of this family are published under {licence}: {_FORBIDDEN[licence]}"
