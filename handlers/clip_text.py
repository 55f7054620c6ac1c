"""The text tower: texts in any of its languages → vectors. Entry module of its MAR.

A text goes to the tokenizer as it came: normalisation is the tokenizer's, as in training. One without a
visible character is `empty_item`; one longer than the tower's token limit is cut to it, keeping the final
</s>, and reported as truncated. One with letters that the tokenizer does not know is reported as unknown.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer

from handlers.base import Handler
from handlers.batching import Array, Group, PreprocessResult
from handlers.config import TextMeta
from handlers.deadline import Deadline
from handlers.errors import INTERNAL, ItemError
from handlers.incidents import log_incident
from handlers.preprocess.texts import TextInLanguage, is_unknown, read_text
from handlers.protocol.items import RawItem
from handlers.runtime.passes import plan_passes
from handlers.runtime.shapes import few_lengths

# Texts that are tokenised together and sorted by length. Enough that most passes are full; few enough that
# tokenising them, which cannot be interrupted, takes seconds even when all are of the longest kind.
_WINDOW = 256


class TextHandler(Handler):
    """Program inputs: ids int64 [N, L] and mask int64 [N, L] (1 = token, 0 = padding)."""

    tower = "text"
    varied_lengths = True
    computes_repeated_once = True  # Searches repeat themselves; to compare texts costs next to nothing.

    def load(self, folder: Path) -> None:
        """tokenizer.json, set to cut at the tower's token limit."""
        if self.meta.text is None:
            raise ValueError("meta.json lacks the section text")
        self.text: TextMeta = self.meta.text
        self.tokenizer: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(self.text.max_tokens)
        self.tokenizer.no_padding()
        self.specials = self.tokenizer.num_special_tokens_to_add(False)

    def initialize(self, context: Any) -> None:
        """As every tower; then the shapes of its passes are decided, and what a pass costs is measured."""
        super().initialize(context)
        every = range(self.text.buckets[0], self.text.max_tokens + 1)
        self.sizes: Sequence[int] = self.lengths if self.placement.keeps_shapes else every
        self.pass_cost = self._pass_cost()

    @property
    def lengths(self) -> Sequence[int]:
        """The lengths that texts are padded to where few shapes may occur, ascending."""
        declared = self.text.buckets
        return declared if self.placement.static else few_lengths(declared[0], declared[-1])

    def _pass_cost(self) -> float:
        """The fixed cost of a pass (launch, reading the weights), in tokens that could be computed instead.

        Measured, because no constant suits a large tower on a CPU (about a dozen), a small one and a GPU.
        """
        likely = self.text.buckets[min(3, len(self.text.buckets) - 1)]
        shapes = [(1, self.text.buckets[0]), (self._rows(likely), likely)]
        (few, short), (many, long) = [(r * length, self._seconds(r, length)) for r, length in shapes]
        a_token = (long - short) / max(1, many - few)
        # No pass can cost more than the largest one. Where, by noise, a token seems to cost nothing: as few
        # passes as possible.
        most = float(self._rows(self.text.buckets[-1]) * self.text.buckets[-1])
        return min(max(0.0, short / a_token - few), most) if a_token > 0 else most

    def _seconds(self, rows: int, length: int) -> float:
        """Of two passes the shorter one's; the warm-up has met the shape."""
        arrays = self._example(rows, length)
        taken = []
        for _ in range(2):
            began = self.clock()
            self.runner(*arrays)
            taken.append(self.clock() - began)
        return min(taken)

    def _row_sizes(self, length: int) -> Sequence[int]:
        """How many texts of a padded length a pass may have, ascending."""
        sizes, tokens = self.row_sizes, self.settings.max_pass_tokens
        return sizes[: max(1, bisect_right(sizes, tokens // length))] if tokens else sizes

    def _rows(self, length: int) -> int:
        """The largest of these."""
        return self._row_sizes(length)[-1]

    def examples(self, rows: int) -> Iterable[tuple[Array, ...]]:
        """Padding tokens marked as content, of every length: only the shape matters."""
        for length in self.lengths:
            yield self._example(min(rows, self._rows(length)), length)

    def _example(self, rows: int, length: int) -> tuple[Array, Array]:
        ids = np.full((rows, length), self.text.pad_id, dtype=np.int64)
        return ids, np.ones_like(ids)

    def groups(
        self, payloads: Sequence[RawItem], result: PreprocessResult, deadline: Deadline
    ) -> Generator[Group, None, None]:
        """Texts of like token count together, padded to the longest of them, or to a declared length."""
        for start in range(0, len(payloads), _WINDOW):
            deadline.check()
            yield from self._window(dict(enumerate(payloads[start : start + _WINDOW], start)), result)

    def _window(self, payloads: dict[int, RawItem], result: PreprocessResult) -> Iterator[Group]:
        texts: dict[int, str] = {}
        languages: dict[int, int] = {}
        for position, payload in payloads.items():
            if isinstance(payload, TextInLanguage):
                languages[position], payload = payload.token, payload.text
            try:
                texts[position] = read_text(payload, max_bytes=self.settings.max_text_bytes)
            except ItemError as error:
                result.failed[position] = error.kept()
        encodings = self._tokenise(texts, result.failed, self.tokenizer.encode_batch_fast)
        tokens = {position: encoding.ids for position, encoding in encodings.items()}
        for position in languages.keys() & tokens.keys():
            tokens[position] = self._in_language(tokens[position], languages[position])
        for position, encoding in encodings.items():
            rest = encoding.overflowing
            result.tokens[position] = len(encoding) + sum(len(part) - self.specials for part in rest)
            if rest:
                result.cut.add(position)
        self._mark_unknown(texts, tokens, result)
        positions = [position for position in tokens if position not in result.failed]
        plan = plan_passes(
            [len(tokens[position]) for position in positions],
            self.sizes,
            rows_of=self._row_sizes,
            pass_cost=self.pass_cost,
        )
        for length, chosen in plan:
            members = [positions[index] for index in chosen]
            ids = np.full((len(members), length), self.text.pad_id, dtype=np.int64)
            mask = np.zeros_like(ids)
            for row, position in enumerate(members):
                ids[row, : len(tokens[position])] = tokens[position]
                mask[row, : len(tokens[position])] = 1
            used = int(mask.sum())
            # Declared lengths even where others occur: a metric's label must not have a value for each.
            bucket = next(size for size in self.text.buckets if size >= length)
            yield Group(members, arrays=(ids, mask), used=used, slots=ids.size, bucket=bucket)

    def _in_language(self, ids: list[int], token: int) -> list[int]:
        """The ids with another language than the default one, which the tokenizer says of every text.

        Whatever a caller writes, no text has that token as a part: control tokens in texts are text.
        """
        assert self.text.languages is not None
        default = self.text.languages.tokens[self.text.languages.default]
        return [token if one == default else one for one in ids]

    def _mark_unknown(
        self, texts: dict[int, str], tokens: dict[int, list[int]], result: PreprocessResult
    ) -> None:
        unknown = self.text.unknown_id
        if unknown is None:
            return
        # Where in the text a token is, encode_batch_fast does not say; few texts have to be looked at again.
        suspects = {position: texts[position] for position, ids in tokens.items() if unknown in ids}
        found = self._tokenise(suspects, result.failed, self.tokenizer.encode_batch) if suspects else {}
        for position, encoding in found.items():
            places = zip(encoding.ids, encoding.offsets, strict=True)
            if is_unknown(texts[position], [place for token, place in places if token == unknown]):
                result.unknown.add(position)

    def _tokenise(
        self,
        texts: dict[int, str],
        failed: dict[int, ItemError],
        encode: Callable[[list[str]], list[Encoding]],
    ) -> dict[int, Encoding]:
        """Position → encoding; a text on which the tokenizer fails costs only itself."""
        try:
            return dict(zip(texts, encode(list(texts.values())), strict=True))
        except BaseException as error:  # A panic in the tokenizer's Rust code is no Exception.
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise
            if len(texts) == 1:
                failed[next(iter(texts))] = ItemError(INTERNAL, log_incident("tokenising", error))
                return {}
        singly = [self._tokenise({position: text}, failed, encode) for position, text in texts.items()]
        return {position: encoding for part in singly for position, encoding in part.items()}
