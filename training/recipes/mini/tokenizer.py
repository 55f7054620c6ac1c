"""A unigram tokenizer for the captions' scripts, in XLM-R's conventions (<s> … </s>, padding id 1)."""

import json
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]  # XLM-R's ids 0 to 3
PAD_ID = SPECIAL.index("<pad>")
DIGITS = 6  # of the pieces' scores: more of them are a quarter of the file, and cut no caption differently


def train(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A tokenizer of at most `vocab_size` pieces; case and compatibility forms are folded."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size,
        special_tokens=SPECIAL,
        unk_token="<unk>",
        max_piece_length=12,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    written = json.loads(tokenizer.to_str())
    written["model"]["vocab"] = [[piece, round(score, DIGITS)] for piece, score in written["model"]["vocab"]]
    return Tokenizer.from_str(json.dumps(written, ensure_ascii=False))
