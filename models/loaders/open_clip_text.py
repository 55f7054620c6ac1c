"""open_clip's own text towers: those of CLIP, MobileCLIP, PE-Core and SigLIP in its files.

A causal tower sees nothing behind the token that stands for a text, so texts cost as much as they are long. A
tower that sees all tokens was trained with texts of one length, padding included, and fills them up itself.

Texts are cut into tokens by open_clip's own table of merges, or by the tokenizer that the config names, whose
files lie beside the weights; and before that they are cleaned as the config says (`clean`).
"""

import re
import string
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn

from models.dual_encoder import TextInput, TextTower
from models.files import tokenizers
from models.files.plain_text import plain
from models.files.weights import CheckpointError, read_json
from models.loaders import siglip

Pool = Literal["argmax", "eos", "first", "last"]
"""Which token stands for a text: the one of the largest id, the end token, the first, or the last."""

# What may lie between the words of a text, and what is cut apart: as OpenAI's tokenizer does.
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
SPACES = (normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip())
CLEAN: dict[str, list[Any]] = {
    "whitespace": [normalizers.NFC(), *SPACES],
    "lower": [normalizers.NFC(), *SPACES, normalizers.Lowercase()],
    "canonicalize": [
        normalizers.NFC(),
        normalizers.Replace("_", " "),
        normalizers.Replace(Regex(f"[{re.escape(string.punctuation)}]"), ""),
        normalizers.Lowercase(),
        *SPACES,
    ],
}


class OpenClipText(nn.Module):
    """The text part of an open_clip model, whose modules it shares, up to the projection."""

    def __init__(self, model: Any, pool: Pool, eos_id: int, pad_id: int) -> None:
        super().__init__()
        self.token_embedding: nn.Embedding = model.token_embedding
        self.positional_embedding: nn.Parameter = model.positional_embedding
        self.transformer: nn.Module = model.transformer
        self.ln_final: nn.Module = model.ln_final
        self.causal: bool = model.attn_mask is not None
        self.pool, self.eos_id, self.pad_id = pool, eos_id, pad_id

    def get_input_embeddings(self) -> nn.Embedding:
        """The table of tokens, by transformers' name for it."""
        return self.token_embedding

    def set_input_embeddings(self, table: nn.Embedding) -> None:
        """Replace the table of tokens; the model that it came from keeps its own."""
        self.token_embedding = table

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """ids, mask int64 [N, L], L at most the context → [N, width]."""
        if attention_mask is not None:  # What is under the mask must be neither the largest id nor the end.
            input_ids = torch.where(attention_mask.bool(), input_ids, self.pad_id)
        length = input_ids.shape[1]
        x = self.token_embedding(input_ids)  # [N, L, width]
        x = x + self.positional_embedding[:length]
        x = self.ln_final(self.transformer(x, attn_mask=_causal_mask(length, x) if self.causal else None))
        pooled: Tensor
        if self.pool == "first":
            pooled = x[:, 0]
        elif self.pool == "last":
            pooled = x[:, -1]
        else:
            ends = (input_ids == self.eos_id).int() if self.pool == "eos" else input_ids
            pooled = x[torch.arange(x.shape[0], device=x.device), ends.argmax(dim=-1)]
        return pooled


def _causal_mask(length: int, like: Tensor) -> Tensor:
    """[L, L], −∞ where a token must not see a later one.

    Made anew: of a part of the model's own table an exporter takes the whole for a case of its own.
    """
    places = torch.arange(length, device=like.device)
    return like.new_zeros(length, length).masked_fill(places > places[:, None], float("-inf"))


class Projection(nn.Module):
    """x @ weight, as CLIP stores its projections: [width, dim]."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, x: Tensor) -> Tensor:
        """[N, width] → [N, dim]."""
        return x @ self.weight


def check(path: Path, config: dict[str, Any]) -> None:
    """Raises CheckpointError where the text tower of a model's config is of a kind that is not taken."""
    text = config["text_cfg"]
    if "multimodal_cfg" in config or text.get("embed_cls") or text.get("output_tokens"):
        raise CheckpointError(
            f"{path}: CoCa's models, which also write captions, are not taken; CLIP's and SigLIP's are"
        )
    pool = text.get("pool_type", "argmax")
    if pool not in get_args(Pool):
        raise CheckpointError(
            f"{path}: the pool_type {pool!r} is not known; known: {', '.join(get_args(Pool))}"
        )
    if text.get("tokenizer_mode"):
        raise CheckpointError(f"{path}: the tokenizer_mode {text['tokenizer_mode']!r} is not taken")
    asked = dict(text.get("tokenizer_kwargs") or {})
    clean = asked.pop("clean", "lower")
    if clean not in CLEAN:
        raise CheckpointError(f"{path}: clean {clean!r} is not known; known: {', '.join(CLEAN)}")
    if asked := {name: value for name, value in asked.items() if value}:
        raise CheckpointError(f"{path}: tokenizer_kwargs {', '.join(sorted(asked))} are not taken; clean is")


def parts(
    path: Path, folder: Path, config: dict[str, Any], model: Any, own: Any
) -> tuple[TextTower, TextInput, Tokenizer]:
    """The text tower of an open_clip model, what it takes, and its tokenizer.

    Args:
        path: where the config stands.
        folder: where the files of a tokenizer are, if the config names one.
        config: the model's.
        model: open_clip's CLIP, which has the text part's modules itself, or its CustomTextCLIP.
        own: open_clip's SimpleTokenizer, a class.

    Raises:
        CheckpointError: names the file and what of it is missing or not taken.
    """
    text = config["text_cfg"]
    source = getattr(model, "text", model)
    pool: Pool = text.get("pool_type", "argmax")
    eos_id, context = int(text.get("eos_id", 2)), int(source.context_length)
    words, pad_id = _tokenizer(path, folder, text, own)
    tower: nn.Module = OpenClipText(source, pool, eos_id, pad_id)
    if pool == "eos" and words.encode("a").ids[-1] != eos_id:
        raise CheckpointError(
            f"{path}: the text model looks for the token {eos_id} at a text's end (eos_id), and its "
            f"tokenizer puts {words.encode('a').ids[-1]} there"
        )
    projection = source.text_projection
    if projection is None:
        projection = nn.Identity()
        if source.ln_final.weight.shape[0] != config["embed_dim"]:
            raise CheckpointError(
                f"{path}: texts have {source.ln_final.weight.shape[0]} dimensions without a projection, "
                f"and images {config['embed_dim']}"
            )
    elif isinstance(projection, nn.Parameter):
        projection = Projection(projection)
    filled = source.attn_mask is None or pool == "last"
    if filled:
        tower = siglip.FixedLengthText(tower, context, pad_id)
    inputs = TextInput(max_tokens=context, pad_id=pad_id, fixed_length=filled)
    return TextTower(tower, "model", projection), inputs, words


def tokenizer_files(folder: Path, text: dict[str, Any], own_table: str) -> list[Path]:
    """The files that say which tokens a text has: the folder's where the config names a tokenizer.

    Raises:
        CheckpointError: there are none.
    """
    if not text.get("hf_tokenizer_name"):
        return [Path(own_table)]
    settings = folder / tokenizers.SETTINGS  # Which token fills texts up is said there.
    return [*tokenizers.files_of(folder), *([settings] if settings.exists() else [])]


def _tokenizer(path: Path, folder: Path, text: dict[str, Any], own: Any) -> tuple[Tokenizer, int]:
    """The tokenizer, with a text's cleaning, and the id that fills texts up."""
    vocabulary = int(text.get("vocab_size", 49_408))
    asked = text.get("tokenizer_kwargs") or {}
    if not text.get("hf_tokenizer_name"):
        made = own_tokenizer(own(), CLEAN[asked.get("clean", "lower")])
        if made.get_vocab_size() > vocabulary:
            raise CheckpointError(
                f"{path}: open_clip's own tokenizer has {made.get_vocab_size():,} tokens and the text model "
                f"{vocabulary:,}; hf_tokenizer_name would name another"
            )
        return plain(made), 0
    clean = CLEAN[asked.get("clean", "whitespace")]
    if text.get("pool_type") == "last":
        return siglip.trained_tokenizer(folder, vocabulary, clean)
    found = tokenizers.published(folder, vocabulary)
    pad_id = _padding(folder, found, int(text.get("pad_id", 0)))
    before = [found.normalizer] if found.normalizer else []
    found.normalizer = normalizers.Sequence([*clean, *before])
    return plain(found), pad_id


def own_tokenizer(simple: Any, clean: list[Any]) -> Tokenizer:
    """open_clip's SimpleTokenizer as one of the tokenizers library, with a text's cleaning."""
    merges = sorted(simple.bpe_ranks, key=simple.bpe_ranks.get)
    made = Tokenizer(BPE(vocab=simple.encoder, merges=merges, end_of_word_suffix="</w>"))
    made.normalizer = normalizers.Sequence(clean)
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    names = {number: piece for piece, number in simple.encoder.items()}
    first, last = (names[number] for number in (simple.sot_token_id, simple.eot_token_id))
    made.post_processor = TemplateProcessing(
        single=f"{first} $A {last}",
        special_tokens=[(first, simple.sot_token_id), (last, simple.eot_token_id)],
    )
    return made


def _padding(folder: Path, tokenizer: Tokenizer, otherwise: int) -> int:
    settings = folder / tokenizers.SETTINGS
    named = read_json(settings).get("pad_token") if settings.exists() else None
    if isinstance(named, dict):  # as versions of transformers before 5 wrote it
        named = named.get("content")
    found = tokenizer.token_to_id(named) if isinstance(named, str) else None
    return otherwise if found is None else found
