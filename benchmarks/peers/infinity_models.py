"""The measured towers as folders that Infinity loads. Runs in Infinity's environment, with its transformers.

    python infinity_models.py CHECKPOINT TARGET

writes TARGET/image, a CLIPModel (its text half is a stump, which is never called), and TARGET/text, a
sentence-transformers model: XLM-R, mean pooling, projection, normalisation.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer, models
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaModel,
)


def below(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): tensor.float() for name, tensor in state.items() if name.startswith(prefix)
    }


def write_clip_tokenizer(folder: Path) -> None:
    """The least that makes a CLIPTokenizer: bytes, no merges."""
    letters = [chr(code) for code in range(33, 127)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77})
    )


def write_image_model(source: Path, target: Path, config: dict[str, Any]) -> None:
    vision = config["vision"]
    stump = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = CLIPModel(
        CLIPConfig(
            text_config={**stump, "vocab_size": 400},
            vision_config={
                "hidden_size": vision["width"],
                "intermediate_size": 4 * vision["width"],
                "num_hidden_layers": vision["layers"],
                "num_attention_heads": vision["heads"],
                "image_size": vision["size"],
                "patch_size": vision["patch"],
            },
            projection_dim=config["dim"],
        )
    )
    state = load_file(source / "vision.safetensors")
    encoder = below(state, "encoder.")
    encoder = below(encoder, "vision_model.") or encoder
    model.vision_model.load_state_dict(encoder)
    model.visual_projection.load_state_dict({"weight": state["projection.weight"].float()})
    model.save_pretrained(target)
    CLIPImageProcessor(
        size={"shortest_edge": vision["size"]},
        crop_size=vision["size"],
        image_mean=vision["mean"],
        image_std=vision["std"],
    ).save_pretrained(target)
    write_clip_tokenizer(target)


def write_text_model(source: Path, target: Path, config: dict[str, Any]) -> None:
    text = config["text"]
    if text.get("memory"):
        sys.exit("infinity_models.py: sentence-transformers has no module for this text tower's memory")
    state = load_file(source / "text.safetensors")
    encoder = XLMRobertaModel(
        XLMRobertaConfig(
            vocab_size=text["vocab_size"],
            hidden_size=text["width"],
            num_hidden_layers=text["layers"],
            num_attention_heads=text["heads"],
            intermediate_size=4 * text["width"],
            max_position_embeddings=text["max_tokens"] + text["pad_id"] + 1,
            pad_token_id=text["pad_id"],
            type_vocab_size=1,
        ),
        add_pooling_layer=False,
    )
    encoder.load_state_dict(below(state, "encoder."))
    inner = target.with_name("xlm-r")
    encoder.save_pretrained(inner)
    special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(source / "tokenizer.json"), model_max_length=text["max_tokens"], **special
    )
    tokenizer.save_pretrained(inner)
    transformer = models.Transformer(str(inner), max_seq_length=text["max_tokens"])
    dense = models.Dense(text["width"], config["dim"], bias=False, activation_function=torch.nn.Identity())
    dense.linear.load_state_dict({"weight": state["projection.weight"].float()})
    pooling = models.Pooling(text["width"], pooling_mode="mean")
    SentenceTransformer(modules=[transformer, pooling, dense, models.Normalize()]).save(str(target))


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    config = json.loads((source / "meta.json").read_text(encoding="utf-8"))["model"]
    target.mkdir(parents=True, exist_ok=True)
    (target / "image").mkdir(exist_ok=True)
    write_image_model(source, target / "image", config)
    write_text_model(source, target / "text", config)


if __name__ == "__main__":
    main()
