"""Models that are put together from others, and then trained: AltCLIP, and a dual encoder."""

from pathlib import Path

import pytest
from transformers import XLMRobertaConfig, XLMRobertaModel

from benchmarks.support.vocabularies import ROBERTA_MARKERS, SMALL_VOCABULARY, tokenizer
from models import assemble
from models.loaders import registry
from tests.systems import families
from tests.training.stages.runs import contrastive_flags, log_of, teacher_flags
from training.stages import contrastive, distillation

pytestmark = pytest.mark.slow  # trains


def test_a_dual_encoder_of_models_that_never_met_learns_its_projections(tables: Path, tmp_path: Path) -> None:
    """Protects the workflow of VisionTextDualEncoder: assemble, train the heads alone, and load."""
    vision, text = _trained_apart(tmp_path)
    out = tmp_path / "assembled"
    command = ["dual-encoder", "--vision", str(vision), "--text", str(text), "--dim", "16", "--out", str(out)]
    assemble.main(command)
    before = registry.load(out)
    contrastive.main(contrastive_flags(out, tables, tmp_path / "run", "--train", "heads"))
    after = registry.load(tmp_path / "run" / "model")
    changed = [
        name
        for name, value in before.public_model.state_dict().items()
        if not value.equal(after.public_model.state_dict()[name])
    ]
    assert sorted(changed) == ["logit_scale", "text_projection.weight", "visual_projection.weight"]
    with pytest.raises(SystemExit, match="is there already"):
        assemble.main(command)


def test_an_altclip_begins_with_clips_towers_and_learns_from_clip(tables: Path, tmp_path: Path) -> None:
    """Protects AltCLIP's workflow: CLIP's vision and projections are kept, XLM-R learns CLIP's states."""
    clip, text = _trained_apart(tmp_path)
    start, run = tmp_path / "start", tmp_path / "run"
    assemble.main(["altclip", "--vision", str(clip), "--text", str(text), "--dim", "16", "--out", str(start)])
    distillation.main(
        teacher_flags(clip, tables, run, "--student", str(start), "--epochs", "2", "--lr", "1e-3")
    )
    theirs, ours = (registry.load(folder).public_model.state_dict() for folder in (clip, run / "model"))
    for name, value in theirs.items():
        if name.startswith(("vision_model.", "visual_projection.", "text_projection.")):
            assert value.equal(ours[name]), name
    rows = [row for row in log_of(run) if "trained_mse" in row or "held_out_mse" in row]
    assert rows[-1]["score"] > rows[0]["score"]
    with pytest.raises(SystemExit, match="has 16 dimensions, not 8"):
        assemble.main(
            [
                "altclip",
                "--vision",
                str(clip),
                "--text",
                str(text),
                "--dim",
                "8",
                "--out",
                str(tmp_path / "no"),
            ]
        )


def _trained_apart(folder: Path) -> tuple[Path, Path]:
    """The folders of a small CLIP and of a small XLM-R."""
    clip, text = folder / "clip", folder / "xlm-r"
    families.clip(clip, true=False)
    config = XLMRobertaConfig(**families.XLM_R_BASE | families.SMALL | {"vocab_size": SMALL_VOCABULARY})
    XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(text)
    tokenizer(SMALL_VOCABULARY, *ROBERTA_MARKERS).save(str(text / "tokenizer.json"))
    return clip, text
