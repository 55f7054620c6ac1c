"""open_clip's own text towers: its tokens and vectors, texts of any length, and what is refused."""

import json
import shutil
import string
from collections.abc import Callable
from pathlib import Path

import ftfy
import numpy as np
import open_clip
import pytest
import timm
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import normalizers
from torch import Tensor

from export import golden, vocabulary
from models.checkpoint import Checkpoint
from models.loaders import licences, open_clip_text, registry
from models.loaders import open_clip as loader
from tests.broken import assert_refused_in_one_line, spoil_weights
from tests.systems import families, open_clip_families
from tests.systems.families import Reference
from training.evaluation.embedding import LoadedModel, Picture, token_arrays

WEIGHTS, TABLE = "open_clip_model.safetensors", "token_embedding.weight"
NAMES = [name for name in open_clip_families.FAMILIES if name != "pe-core"]  # the slowest, exported elsewhere
SIMPLE = open_clip.tokenizer.SimpleTokenizer()
OWN_WORDS = open_clip_text.own_tokenizer(SIMPLE, open_clip_text.CLEAN["lower"])
LETTERS = "abcXYZ 019.,!?'\"-_#@()éñüжЯअकि中文あ🐕\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Reference]]:
    """Folders of each family, and what open_clip makes of texts and images by them."""
    folders = {name: tmp_path_factory.mktemp("made") / name for name in NAMES}
    return {
        name: (path, open_clip_families.FAMILIES[name](path, true=False)) for name, path in folders.items()
    }


@pytest.fixture(scope="module")
def loaded(made: dict[str, tuple[Path, Reference]]) -> dict[str, Checkpoint]:
    return {name: registry.load(path) for name, (path, _) in made.items()}


def assert_vectors(model: Checkpoint, due: Reference) -> None:
    """Both towers give the library's vectors."""
    photographs = [Picture("one", data) for data in families.pictures()]
    images = LoadedModel(model, "tiny", torch.device("cpu")).embed_images(photographs)
    assert families.nearest(due.texts, list(embed(model, *families.TEXTS).numpy())) > 0.9999
    assert families.nearest(due.images, list(images.numpy())) > 0.9999


def embed(model: Checkpoint, *texts: str) -> Tensor:
    return LoadedModel(model, "tiny", torch.device("cpu")).embed_texts(list(texts))


@pytest.mark.parametrize("name", NAMES)
def test_vectors_are_open_clips(
    name: str, made: dict[str, tuple[Path, Reference]], loaded: dict[str, Checkpoint]
) -> None:
    """Tokens, pooling, projection, pixels and tower are those of the library's own model and transform."""
    assert_vectors(loaded[name], made[name][1])
    assert loaded[name].meta["space"] == registry.space_of(made[name][0])


@settings(max_examples=60, deadline=None)
@given(st.text(LETTERS, max_size=80))
def test_its_own_table_cuts_texts_as_open_clip_does(text: str) -> None:
    """The same ids for words, digits, apostrophes, scripts and emoji, where ftfy has nothing to repair."""
    assume(ftfy.fix_text(text) == text)
    due = [SIMPLE.sot_token_id, *SIMPLE.encode(text), SIMPLE.eot_token_id]
    assert OWN_WORDS.encode(text).ids == due


@settings(max_examples=60)
@given(st.text(string.ascii_letters + string.digits + string.punctuation + " \téжÄ中", max_size=60))
def test_texts_are_canonicalised_as_in_open_clip(text: str) -> None:
    """Of SigLIP's texts punctuation goes, underscores become spaces, and case makes no difference."""
    clean = normalizers.Sequence(open_clip_text.CLEAN["canonicalize"])
    assert clean.normalize_str(text) == open_clip.tokenizer.canonicalize_text(text)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["open-clip", "mobileclip2", "open-clip-siglip2"])
def test_padding_makes_no_difference(name: str, loaded: dict[str, Checkpoint]) -> None:
    """A vector does not depend on how far its batch was padded, nor on the ids under the mask."""
    model = loaded[name].model
    limit = model.config.text.max_tokens
    ids, mask = token_arrays(loaded[name].tokenizer, ["ein roter Apfel"], max_tokens=limit, pad_id=0)
    due = model.text(ids, mask)
    for wide in (40, limit):
        rest = torch.full((1, wide - ids.shape[1]), 7_999)
        padded = torch.cat([ids, rest], 1), torch.cat([mask, torch.zeros_like(rest)], 1)
        torch.testing.assert_close(model.text(*padded), due, atol=1e-5, rtol=1e-5)


def test_only_towers_that_see_their_padding_fill_texts_up(loaded: dict[str, Checkpoint]) -> None:
    """A causal tower's short texts stay cheap; the others have a length of their own."""
    inputs = {name: model.model.config.text for name, model in loaded.items()}
    assert {name for name, text in inputs.items() if text.fixed_length} == set(NAMES) - {"open-clip"}
    end = loaded["open-clip-siglip"].tokenizer.encode("a").ids[-1]
    pads = {name: text.pad_id for name, text in inputs.items()}
    assert pads == {"open-clip": 0, "mobileclip2": 0, "open-clip-siglip2": 0, "open-clip-siglip": end}


def test_apples_towers_say_that_they_are_for_research(loaded: dict[str, Checkpoint]) -> None:
    """An export warns of a licence that forbids a use, and tells no other model's user of one."""
    towers = {name: open_clip.get_model_config(name)["vision_cfg"] for name in open_clip.list_models()}
    told = {
        name
        for name, tower in towers.items()
        if licences.of_image_tower(tower.get("timm_model_name", "")) == licences.RESEARCH
    }
    plain = {"MobileCLIP2-L-14"}  # a tower as others have it
    assert told == {name for name in towers if name.startswith("MobileCLIP")} - plain
    assert licences.warning(licences.RESEARCH).endswith("LicenseRef-apple-amlr: for research alone")
    assert {model.meta["license"] for model in loaded.values()} == {""}


def test_a_long_text_ends_as_a_short_one(loaded: dict[str, Checkpoint]) -> None:
    """What is cut at the context keeps the end token, which stands for the text."""
    words = loaded["open-clip"].tokenizer
    words.enable_truncation(77)
    ids = words.encode("ein Apfel und " * 60).ids
    words.no_truncation()
    assert (len(ids), ids[0], ids[-1]) == (77, 49_406, 49_407)


def test_siglips_sentencepiece_vocabulary_can_be_trimmed(made: dict[str, tuple[Path, Reference]]) -> None:
    """Without other languages' tokens the table is smaller, and the texts that stay keep their vectors."""
    model = registry.load(made["open-clip-siglip"][0])
    texts = list(golden.texts(("en", "de", "ja")).values())
    before = embed(model, *texts)
    trimmed, sizes = vocabulary.trim_checkpoint(model, ("en", "de", "ja"))
    assert sizes["kept"] < sizes["all"]
    torch.testing.assert_close(embed(trimmed, *texts), before)


@pytest.mark.parametrize("name", ["open-clip", "open-clip-siglip2"])
def test_a_trained_model_is_saved_as_open_clip_reads_it(
    name: str, made: dict[str, tuple[Path, Reference]], loaded: dict[str, Checkpoint], tmp_path: Path
) -> None:
    """After training there is the same folder with other weights, for us and for open_clip."""
    registry.save(loaded[name], tmp_path / "trained", scale=20.0, about={"steps": 1})
    again = registry.load(tmp_path / "trained")
    assert round(again.meta["logit_scale"], 2) == 20.0
    torch.testing.assert_close(embed(again, "ein Apfel"), embed(loaded[name], "ein Apfel"))
    read = open_clip.create_model(f"local-dir:{tmp_path / 'trained'}").eval()
    ids = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'trained'}")(families.TEXTS[:1])
    with torch.inference_mode():
        due = read.encode_text(ids, normalize=True)
    torch.testing.assert_close(embed(again, families.TEXTS[0]), due, atol=1e-5, rtol=1e-5)


def test_a_text_part_with_older_names_is_read(
    made: dict[str, tuple[Path, Reference]], tmp_path: Path
) -> None:
    """Weights of before the text tower was a part of its own are those of the same model."""
    folder = Path(shutil.copytree(made["mobileclip2"][0], tmp_path / "older"))

    def rename(state: dict[str, Tensor]) -> None:
        for key in [key for key in state if key.startswith("text.")]:
            state[key.removeprefix("text.")] = state.pop(key)

    spoil_weights(WEIGHTS, rename)(folder)
    rows = embed(registry.load(folder), *families.TEXTS).numpy()
    np.testing.assert_array_less(0.9999, (rows * made["mobileclip2"][1].texts).sum(1))


def spoil(part: str, **values: object) -> Callable[[Path], None]:
    """Set values of the model's config, or of its part."""

    def change(folder: Path) -> None:
        path = folder / loader.CONFIG
        config = json.loads(path.read_text())
        place = config["model_cfg"][part] if part else config["model_cfg"]
        place.update(values)
        path.write_text(json.dumps(config))

    return change


def both(*changes: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for one in changes:
            one(folder)

    return change


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


NAFLEX = next(name for name in timm.list_models("naflexvit*"))


@pytest.mark.parametrize(
    ("family", "change", "says"),
    [
        (
            "open-clip",
            spoil("", multimodal_cfg={}),
            "CoCa's models, which also write captions, are not taken",
        ),
        ("open-clip", spoil("text_cfg", embed_cls=True), "CoCa's models"),
        ("open-clip", spoil("text_cfg", pool_type="none"), "the pool_type 'none' is not known"),
        (
            "open-clip",
            both(
                spoil("text_cfg", vocab_size=64),
                spoil_weights(WEIGHTS, lambda s: s.update({TABLE: s[TABLE][:64].clone()})),
            ),
            "own tokenizer has 49,408 tokens and the text model 64",
        ),
        ("open-clip", spoil("text_cfg", tokenizer_mode="clips"), "the tokenizer_mode 'clips' is not taken"),
        (
            "open-clip",
            spoil("text_cfg", tokenizer_kwargs={"strip_sep_token": True}),
            "tokenizer_kwargs strip_sep_token are not taken",
        ),
        ("open-clip", spoil("text_cfg", tokenizer_kwargs={"clean": "soap"}), "clean 'soap' is not known"),
        ("open-clip", spoil("text_cfg", colour="red"), "open_clip cannot build its model"),
        (
            "open-clip",
            both(
                spoil("text_cfg", proj_type="none"),
                spoil_weights(WEIGHTS, lambda s: s.pop("text_projection")),
            ),
            "32 dimensions without a projection, and images 16",
        ),
        ("open-clip", spoil("vision_cfg", output_tokens=True), "output_tokens, as CoCa's, is not taken"),
        ("open-clip", spoil_weights(WEIGHTS, lambda s: s.pop("text_projection")), "missing text_projection"),
        ("open-clip", spoil_weights(WEIGHTS, lambda s: s.pop("visual.proj")), "missing visual.proj"),
        ("mobileclip2", spoil("vision_cfg", timm_model_name="hf-hub:some/one"), "timm_model_name"),
        ("mobileclip2", spoil("vision_cfg", timm_model_name=NAFLEX), "images of any proportion (NaFlex)"),
        ("open-clip-siglip2", without("tokenizer.json"), "tokenizer.json is missing"),
        (
            "open-clip-siglip2",
            spoil("text_cfg", pool_type="eos", eos_id=7),
            "looks for the token 7 at a text's end (eos_id), and its tokenizer puts",
        ),
    ],
)
def test_a_broken_folder_is_refused_in_one_line(
    family: str,
    change: Callable[[Path], object],
    says: str,
    made: dict[str, tuple[Path, Reference]],
    tmp_path: Path,
) -> None:
    """The message names the file and what of it is wrong or not taken; nothing is fetched or guessed."""
    folder = Path(shutil.copytree(made[family][0], tmp_path / "tiny"))
    change(folder)
    assert_refused_in_one_line(folder, says)


def test_the_perception_encoder_is_open_clips_for_its_size_alone(tmp_path: Path) -> None:
    """Rotary positions and all; a size that the tower has no places for is told before an export fails."""
    folder = tmp_path / "pe-core"
    reference = open_clip_families.pe_core(folder, true=False)
    assert_vectors(registry.load(folder), reference)
    spoil("vision_cfg", image_size=224)(folder)
    assert_refused_in_one_line(folder, "image_size 224, and its timm model takes images of 384 × 384")
