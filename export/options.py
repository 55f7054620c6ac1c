"""The options of an export."""

from dataclasses import asdict, dataclass
from typing import Any

FORMS = ("pt2", "onnx")
# The dtype of the stored weights → the forms of a program that can hold them.
DTYPES = {"float32": ("pt2", "onnx"), "bfloat16": ("pt2", "onnx"), "int8": ("onnx",)}


@dataclass(frozen=True)
class Options:
    """For both towers, where not said otherwise.

    Raises:
        ValueError: the combination makes no sense; the sentence says why.
    """

    version: str = "1.0"
    """TorchServe's version of both archives."""
    dtype: str = "float32"
    """Of the stored weights. bfloat16 halves them, int8 quarters matrices of matmuls and tables."""
    forms: tuple[str, ...] = ("pt2", "onnx")
    """The forms of each program in the archives."""
    languages: tuple[str, ...] = ()
    """The text tower's languages, by CLDR's codes; none: those of the checkpoint."""
    trim_vocab: bool = False
    """Whether the text tower loses the tokens that only other languages need."""
    low_memory: bool = False
    """Whether ONNX Runtime widens weights in each pass instead of once: less memory, slower."""
    architecture: str | None = None
    """open_clip's name of the model, for a file of weights without a config."""

    def __post_init__(self) -> None:
        impossible = [form for form in self.forms if form not in DTYPES[self.dtype]]
        if impossible:
            raise ValueError(f"{self.dtype} weights exist as {', '.join(DTYPES[self.dtype])} alone")
        if self.trim_vocab and not self.languages:
            raise ValueError("to trim the vocabulary, name the languages to keep with --languages")
        if self.low_memory and (self.dtype == "float32" or "onnx" not in self.forms):
            raise ValueError("--lean is for ONNX programs whose weights are stored as bfloat16 or int8")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
