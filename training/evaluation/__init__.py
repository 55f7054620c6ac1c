"""Retrieval and zero-shot classification of any model, in any language, as CLIP_benchmark defines them.

python -m training.evaluation SOURCE --dataset FOLDER --task zeroshot_retrieval --output results.json
"""
