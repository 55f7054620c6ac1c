"""nllb-clip: open_clip's models whose text model is the encoder of NLLB-200.

Every text stands beside a token of its language, `ben_Beng`, and what stands for a text is the state of its
first token: that of the language, unless the tokenizer is of the older kind, which has it last. Which
language is meant where a caller names none, and where the token stands, tokenizer_config.json says, as
transformers reads it: `src_lang`, eng_Latn without one, and `legacy_behaviour`.
"""

import re
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import M2M100Config

from handlers.preprocess.languages import LanguageTokens
from models.files import tokenizers
from models.files.plain_text import plain
from models.files.weights import CheckpointError, read_json

KIND = "m2m_100"
CODE = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")
END = "</s>"
DEFAULT = "eng_Latn"
# What the public models of these names are, by their config.json.
TEXT_MODELS: dict[str, dict[str, Any]] = {
    "nllb-200-distilled-600M": {"encoder_layers": 12, "encoder_ffn_dim": 4096},
    "nllb-200-distilled-1.3B": {"encoder_layers": 24, "encoder_ffn_dim": 8192},
}


def text_config(name: str) -> M2M100Config:
    """The config of a public model: without its decoder, which open_clip builds, and throws away."""
    return M2M100Config(
        **TEXT_MODELS[name],
        vocab_size=256_206,
        d_model=1024,
        encoder_attention_heads=16,
        max_position_embeddings=1024,
        decoder_layers=0,
    )


def is_nllb(folder: Path, text: dict[str, Any]) -> bool:
    """Whether the text model of an open_clip config is NLLB's; its own config may lie in the folder."""
    name = Path(str(text.get("hf_model_name"))).name
    own = folder / name / "config.json"
    return read_json(own).get("model_type") == KIND if own.exists() else name in TEXT_MODELS


def text_rule(folder: Path) -> str:
    """The language that stands beside a text, and where, as a fingerprint takes it.

    Raises:
        CheckpointError: tokenizer_config.json is no JSON.
    """
    language, last = _settings(folder)
    return f"{language} {'last' if last else 'first'}"


def trained_tokenizer(folder: Path, vocabulary: int) -> tuple[Tokenizer, LanguageTokens]:
    """The folder's tokenizer, which says the default language of every text, and the tokens of all languages.

    Raises:
        CheckpointError: the file is missing or has no such tokens, or its settings name a language without.
    """
    path = tokenizers.files_of(folder)[0]
    tokenizer = tokenizers.published(folder, vocabulary)
    added = tokenizer.get_added_tokens_decoder()
    codes = {token.content: number for number, token in added.items() if CODE.fullmatch(token.content)}
    end = tokenizer.token_to_id(END)
    if not codes or end is None:
        raise CheckpointError(f"{path} lacks {END} or the tokens of languages, such as {DEFAULT}")
    language, last = _settings(folder)
    if language not in codes:
        raise CheckpointError(
            f"{folder}/{tokenizers.SETTINGS}: the tokenizer has no token for src_lang {language!r}"
        )
    tokenizer.post_processor = TemplateProcessing(
        single=f"$A {END} {language}" if last else f"{language} $A {END}",
        special_tokens=[(END, end), (language, codes[language])],
    )
    return plain(tokenizer), LanguageTokens(language, codes)


def _settings(folder: Path) -> tuple[str, bool]:
    """The default language, and whether its token stands after the text."""
    settings = read_json(folder / tokenizers.SETTINGS) if (folder / tokenizers.SETTINGS).exists() else {}
    return str(settings.get("src_lang") or DEFAULT), bool(settings.get("legacy_behaviour"))
