"""Retrieval, zero-shot classification and linear probes of any model, as CLIP_benchmark defines them.

python -m training.evaluation SOURCE --dataset FOLDER --task zeroshot_retrieval --output results.json
"""
