"""The demonstration that scripts/demo runs: export, serve, embed held-out drawings, ask in many languages,
stop.

Every vector comes from TorchServe through the gateway: drawings over gRPC, questions over HTTP. An answer
counts as right when the drawing that the question means is among its first `SHOWN`. The demonstration fails
when fewer than `ENOUGH` of the questions are answered right, or when any step fails; only after everything is
stopped it ends with `demo: OK`.

With --page the drawings become a collection instead, which the gateway's page searches until Ctrl-C.
"""

import argparse
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import demo_page
import httpx
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from babelclip import Client, Embeddings
from serving.environment import forget_proxies

REPOSITORY = Path(__file__).resolve().parents[1]
CHECKPOINT = REPOSITORY / "training" / "recipes" / "mini" / "checkpoint"
SAMPLES = REPOSITORY / "training" / "recipes" / "mini" / "samples"
RUN = REPOSITORY / ".run" / "demo"
KEYS = RUN / "gateway" / "keys.json"
ITEMS = "babelclip_gateway_items_total"
SHOWN = 5
ENOUGH = 0.75  # of the questions, some of which stand on the edge; by chance it would be one in thirty


@dataclass(frozen=True)
class Question:
    text: str
    language: str
    meaning: str
    emoji: str  # any of these characters is a right answer


QUESTIONS = [
    Question("विद्यालय", "Hindi", "school", "🏫"),
    Question("犬", "Japanese", "dog", "🐕🐶"),
    Question("кофе", "Russian", "coffee", "☕"),
    Question("قطة", "Arabic", "cat", "🐈🐱"),
    Question("röd ros", "Swedish", "red rose", "🌹"),
    Question("σελήνη", "Greek", "moon", "🌙🌛🌜🌕🌝🌓🌔🌖🌗🌘🌑🌒🌚"),
    Question("코끼리", "Korean", "elephant", "🐘"),
    Question("自行车", "Chinese", "bicycle", "🚲"),
    Question("pizza", "Italian", "pizza", "🍕"),
    Question("גיטרה", "Hebrew", "guitar", "🎸"),
    Question("กุญแจ", "Thai", "key", "🔑🗝"),
    Question("মাছ", "Bengali", "fish", "🐟🐠"),
    Question("ndizi", "Swahili", "banana", "🍌"),
    Question("சிங்கம்", "Tamil", "lion", "🦁"),
    Question("снеговик", "Russian", "snowman", "⛄☃"),
    Question("fusée", "French", "rocket", "🚀"),
    Question("ცხენი", "Georgian", "horse", "🐎🐴"),
    Question("kaktus", "Polish", "cactus", "🌵"),
    Question("strawberry", "English", "strawberry", "🍓"),
    Question("մեղու", "Armenian", "honeybee", "🐝"),
]


def say(text: str) -> None:
    print(text, flush=True)


def made_key() -> str:
    """A key for the gateway, in the place of the one of the demonstration before."""
    KEYS.unlink(missing_ok=True)
    scopes = [word for scope in ("embed", "search", "write") for word in ("--scope", scope)]
    command = [sys.executable, "-m", "babelclip", "keys", "add", "demo", "--file", str(KEYS), *scopes]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@contextmanager
def serving(run: Path, **settings: str) -> Iterator[dict[str, Any]]:
    """TorchServe and the gateway, with these settings, on free ports; yields their `ready:` line's facts."""
    command = [sys.executable, "scripts/serve.py", "--run-dir", str(run), "--ports", "auto"]
    given = {f"BABELCLIP_GATEWAY_{name.upper()}": value for name, value in settings.items()}
    environment = {**os.environ, **given}
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("ready: "):
                    yield json.loads(line.removeprefix("ready: "))
                    break
                say(f"  {line.rstrip()}")
            else:
                raise SystemExit("demo: the server ended instead of becoming ready")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=120)
    if process.returncode != 0:
        raise SystemExit(f"demo: the server ended with status {process.returncode}")


def counted(metrics_url: str, name: str, **labels: str) -> float:
    """Sum of a counter's samples with these labels, as Prometheus would read them."""
    text = httpx.get(metrics_url, timeout=10).raise_for_status().text
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


def images_per_second(facts: dict[str, Any], client: Client, images: list[bytes]) -> tuple[Embeddings, float]:
    """The images' embeddings, and the rate of the counter that Prometheus reads while they were embedded."""
    labels = {"tower": "vision", "outcome": "ok"}
    before = counted(facts["metrics"], ITEMS, **labels)
    started = time.monotonic()
    embeddings = client.embed_images(images)
    seconds = time.monotonic() - started
    shown = counted(facts["metrics"], ITEMS, **labels) - before
    if shown != len(images):
        raise SystemExit(f"demo: the metrics show {shown:.0f} images of {len(images)}")
    return embeddings, shown / seconds


def contact_sheet(target: Path, paths: list[Path], ranking: list[list[int]], scores: np.ndarray) -> None:
    """One row a question: its language and meaning, and its first answers with their cosines."""
    side, left, row_height = 72, 250, 100
    font, small = ImageFont.load_default(18), ImageFont.load_default(13)
    sheet = Image.new("RGB", (left + SHOWN * (side + 24), row_height * len(QUESTIONS)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, question in enumerate(QUESTIONS):
        top = row * row_height
        draw.line((0, top, sheet.width, top), fill="#dddddd")
        draw.text((16, top + 26), question.meaning, fill="black", font=font)
        draw.text((16, top + 52), f"asked in {question.language}", fill="#666666", font=small)
        for place, index in enumerate(ranking[row]):
            x = left + place * (side + 24)
            picture = Image.open(paths[index]).convert("RGBA").resize((side, side))
            sheet.paste(picture, (x, top + 6), picture)
            right = paths[index].stem in wanted_stems(question)
            draw.text(
                (x + 18, top + 80),
                f"{scores[row, index]:.2f}",
                fill="#0a7d28" if right else "#666666",
                font=small,
            )
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target)


def wanted_stems(question: Question) -> set[str]:
    return {f"{ord(char):x}" for char in question.emoji}


def ask(client: Client, drawings: Embeddings, paths: list[Path], sheet: Path) -> float:
    """Print and draw every answer; returns the share of right ones."""
    names = json.loads((SAMPLES / "captions.json").read_text(encoding="utf-8"))["names"]["en"]
    english = {"-".join(f"{ord(c):x}" for c in emoji): name for emoji, name in names.items()}
    scores = client.similarity([question.text for question in QUESTIONS], drawings)
    ranking = [np.argsort(-row)[:SHOWN].tolist() for row in scores]
    table = Table("question", "language", "meaning", "first answer", "score", "right answer at")
    right = 0
    for question, row, order in zip(QUESTIONS, scores, ranking, strict=True):
        wanted = wanted_stems(question)
        place = next((i for i, index in enumerate(order, 1) if paths[index].stem in wanted), None)
        right += place is not None
        first = order[0]
        table.add_row(
            question.text,
            question.language,
            question.meaning,
            english.get(paths[first].stem, paths[first].stem),
            f"{row[first]:.3f}",
            str(place or f"not in {SHOWN}"),
        )
    Console(width=110).print(table)
    contact_sheet(sheet, paths, ranking, scores)
    say(f"{right} of {len(QUESTIONS)} questions answered within the first {SHOWN} of {len(paths)} drawings")
    return right / len(QUESTIONS)


def show_page(key: str) -> None:
    """The drawings as a collection, and its page, until Ctrl-C."""
    collections = RUN / "collections"
    shutil.rmtree(collections, ignore_errors=True)
    with serving(RUN, collections=str(collections)) as facts:
        count = demo_page.fill(facts["http"], key, SAMPLES)
        say(f"added {count} held-out drawings to a collection")
        demo_page.keep_open(facts["http"], key)
    say("stopped the gateway, TorchServe and its workers")


def check_place() -> None:
    """End with a sentence where this user cannot write: archives and answers go into the repository."""
    run = REPOSITORY / ".run"
    for folder in (REPOSITORY / "model_store", run if run.exists() else REPOSITORY):
        if not os.access(folder, os.W_OK):
            sys.exit(f"demo: this user may not write to {folder}; run it in a copy of the repository")


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--sheet", type=Path, default=REPOSITORY / ".run" / "demo" / "answers.png")
    parser.add_argument("--page", action="store_true", help="open the drawings on a page, until Ctrl-C")
    options = parser.parse_args()
    check_place()
    forget_proxies()
    for stream in (sys.stdout, sys.stderr):
        # The questions are in letters that not every terminal has.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    os.chdir(REPOSITORY)
    started = time.monotonic()
    say("export: checkpoint → tower programs → parity → archives")
    subprocess.run([sys.executable, "-m", "export", str(CHECKPOINT), "--if-needed"], check=True)
    say("serve: TorchServe with both towers, and the gateway before it")
    key = made_key()
    if options.page:
        show_page(key)
        return
    with serving(RUN) as facts:
        say(f"  ready: space {facts['space']}, {facts['http']} and {facts['grpc']}")
        paths = sorted(SAMPLES.glob("*.png"))
        images = [path.read_bytes() for path in paths]
        with Client(facts["grpc"], token=key) as client:
            client.embed_images(images[:32])  # the first requests of a process are slower than all others
            drawings, rate = images_per_second(facts, client, images)
        say(
            f"embed: {len(images)} held-out drawings over gRPC; "
            f"{rate:.0f} images per second by Prometheus' counter"
        )
        with Client(facts["http"], token=key) as client:
            share = ask(client, drawings, paths, options.sheet)
    say(f"contact sheet: {options.sheet}")
    say("stopped the gateway, TorchServe and its workers")
    if share < ENOUGH:
        sys.exit(
            f"demo: only {share:.0%} of the questions were answered right; "
            f"at least {ENOUGH:.0%} were expected"
        )
    result = {"right": share, "images_per_s": round(rate, 1), "seconds": round(time.monotonic() - started, 1)}
    print("result: " + json.dumps(result))
    print("demo: OK")


if __name__ == "__main__":
    main()
