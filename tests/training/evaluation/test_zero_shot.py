import pytest
import torch
import torch.nn.functional as F

from training.evaluation import languages, zero_shot
from training.evaluation.errors import EvaluationError


def embed(texts: list[str]) -> torch.Tensor:
    """A vector a text, not of length 1."""
    rows = [torch.randn(5, generator=torch.Generator().manual_seed(sum(text.encode()))) for text in texts]
    return 3 * torch.stack(rows)


def test_a_class_is_the_normalised_mean_of_its_normalised_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protects the order of normalising, averaging and normalising, class by class, over several calls."""
    monkeypatch.setattr(zero_shot, "CLASSES", 2)
    names, templates = ["dog", "cat", "red fox"], ["a {c}.", "{c}", "no {c} here"]
    found = zero_shot.class_embeddings(embed, names, templates)
    for row, name in zip(found, names, strict=True):
        vectors = F.normalize(embed([template.format(c=name) for template in templates]), dim=1)
        torch.testing.assert_close(row, F.normalize(vectors.mean(0), dim=0))
    logits = zero_shot.logits(found, found)
    torch.testing.assert_close(logits.diagonal(), torch.full((3,), 100.0))


def test_a_name_with_braces_is_taken_as_it_stands() -> None:
    """Protects class names and templates of other people from being read as Python's format language."""
    assert zero_shot.sentences("{c.real}", ["a {c}, {0}"]) == ["a {c.real}, {0}"]


def test_every_language_has_sentences_with_a_place_for_the_name() -> None:
    """Protects templates.json: one placeholder a sentence, no sentence twice, the bare name among them."""
    known = languages.built_in_templates()
    assert {"en", "de", "fr", "es", "it", "pt", "ru", "zh", "ja", "ko", "ar", "hi", "tr", "id", "vi"} <= set(
        known
    )
    for code, sentences in known.items():
        assert all(sentence.count("{c}") == 1 for sentence in sentences), code
        assert len(set(sentences)) == len(sentences) >= 5, code
        assert languages.canonical(code) == code


def test_aliases_lead_to_one_code() -> None:
    """Protects XTD10's jp, and the files that write it, from being another language than ja."""
    assert languages.canonical("jp") == "ja"
    assert languages.spellings("jp") == languages.spellings("ja") == ["ja", "jp"]
    assert languages.templates_of("jp") == languages.templates_of("ja")


def test_a_language_without_sentences_is_named() -> None:
    """Protects from templates of another language being taken."""
    with pytest.raises(EvaluationError, match="no built-in templates in 'tlh'; there are in en, de"):
        languages.templates_of("tlh")
