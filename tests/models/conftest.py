from tests.miniature import emoji_root, small_model, words

__all__ = ["emoji_root", "small_model", "words"]
