"""The demonstration that scripts/demo runs: export, serve, embed pictures, ask in many languages, stop.

Photographs are asked of the model that knows photographs; with --drawings held-out drawings of `mini`, which
is smaller. Every vector comes from TorchServe through the gateway: pictures over gRPC, questions over HTTP.
The export is kept for the next time, and made again when the model or the code has changed.

An answer counts as right when a picture that shows what is asked for is among its first `SHOWN`. The
demonstration fails when too few of the questions are answered right, or when any step fails; only after
everything is stopped it ends with `demo: OK`.

With --page the pictures become a collection instead, which the gateway's page searches until Ctrl-C.
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
from pathlib import Path
from typing import Any

import demo_page
import demo_subjects
import httpx
import numpy as np
from demo_subjects import Subject
from PIL import Image, ImageDraw, ImageFont, ImageOps
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from babelclip import Client, Embeddings
from serving.environment import forget_proxies

REPOSITORY = Path(__file__).resolve().parents[1]
RUN = REPOSITORY / ".run" / "demo"
ITEMS = "babelclip_gateway_items_total"
SHOWN = 5


def say(text: str) -> None:
    print(text, flush=True)


def made_key(run: Path) -> str:
    """A key for the gateway, in the place of the one of the demonstration before."""
    keys = run / "gateway" / "keys.json"
    keys.unlink(missing_ok=True)
    scopes = [word for scope in ("embed", "search", "write") for word in ("--scope", scope)]
    command = [sys.executable, "-m", "babelclip", "keys", "add", "demo", "--file", str(keys), *scopes]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@contextmanager
def serving(run: Path, subject: Subject, **settings: str) -> Iterator[dict[str, Any]]:
    """TorchServe and the gateway with the model, exported if need be; yields their `ready:` line's facts."""
    command = [sys.executable, "scripts/serve.py", str(subject.checkpoint), *subject.export]
    command += ["--run-dir", str(run), "--ports", "auto"]
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


def contact_sheet(target: Path, subject: Subject, ranking: list[list[int]], scores: np.ndarray) -> None:
    """One row a question: its language and meaning, and its first answers with their cosines."""
    side, left, row_height = 72, 250, 100
    font, small = ImageFont.load_default(18), ImageFont.load_default(13)
    sheet = Image.new("RGB", (left + SHOWN * (side + 24), row_height * len(subject.questions)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, question in enumerate(subject.questions):
        top = row * row_height
        draw.line((0, top, sheet.width, top), fill="#dddddd")
        draw.text((16, top + 26), question.meaning, fill="black", font=font)
        draw.text((16, top + 52), f"asked in {question.language}", fill="#666666", font=small)
        for place, index in enumerate(ranking[row]):
            x = left + place * (side + 24)
            path = subject.pictures[index]
            with Image.open(path) as opened:
                picture = ImageOps.fit(opened.convert("RGBA"), (side, side))
            sheet.paste(picture, (x, top + 6), picture)
            draw.text(
                (x + 18, top + 80),
                f"{scores[row, index]:.2f}",
                fill="#0a7d28" if path.stem in question.right else "#666666",
                font=small,
            )
    target.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(target)


def ask(client: Client, pictures: Embeddings, subject: Subject, sheet: Path) -> dict[str, float]:
    """Print and draw every answer; returns the shares of right ones: the first picture, and the first few."""
    scores = client.similarity([question.text for question in subject.questions], pictures)
    ranking = [np.argsort(-row)[:SHOWN].tolist() for row in scores]
    table = Table("question", "language", "meaning", "first answer", "score", "right answer at")
    places = []
    for question, row, order in zip(subject.questions, scores, ranking, strict=True):
        stems = [subject.pictures[index].stem for index in order]
        place = next((i for i, stem in enumerate(stems, 1) if stem in question.right), None)
        places.append(place)
        table.add_row(
            question.text,
            question.language,
            question.meaning,
            subject.captions.get(stems[0], stems[0]),
            f"{row[order[0]]:.3f}",
            str(place or f"not in {SHOWN}"),
        )
    Console(width=110).print(table)
    contact_sheet(sheet, subject, ranking, scores)
    first, right = places.count(1), len(places) - places.count(None)
    say(
        f"{first} of {len(places)} questions answered by the first of {len(subject.pictures)} "
        f"{subject.name}, {right} within the first {SHOWN}"
    )
    return {"right": round(right / len(places), 3), "first": round(first / len(places), 3)}


def show_page(run: Path, key: str, subject: Subject) -> None:
    """The pictures as a collection, and its page, until Ctrl-C."""
    collections = run / "collections"
    shutil.rmtree(collections, ignore_errors=True)
    settings = {"calibrations": str(subject.calibration)} if subject.calibration else {}
    with serving(run, subject, collections=str(collections), **settings) as facts:
        count = demo_page.fill(facts["http"], key, subject)
        say(f"added {count} {subject.name} to a collection")
        demo_page.keep_open(facts["http"], key, subject)
    say("stopped the gateway, TorchServe and its workers")


def check_place() -> None:
    """End with a sentence where this user cannot write: archives and answers go into the repository."""
    run = REPOSITORY / ".run"
    for folder in (REPOSITORY / "model_store", run if run.exists() else REPOSITORY):
        if not os.access(folder, os.W_OK):
            sys.exit(f"demo: this user may not write to {folder}; run it in a copy of the repository")


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--run-dir", type=Path, default=RUN, help="for the key, logs and answers")
    parser.add_argument("--sheet", type=Path, help="the answers as a picture (default: RUN_DIR/answers.png)")
    parser.add_argument("--page", action="store_true", help="open the pictures on a page, until Ctrl-C")
    parser.add_argument("--drawings", action="store_true", help="ask drawings of the smaller model instead")
    options = parser.parse_args()
    run = options.run_dir.resolve()
    sheet = (options.sheet or run / "answers.png").resolve()
    check_place()
    forget_proxies()
    for stream in (sys.stdout, sys.stderr):
        # The questions are in letters that not every terminal has.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    os.chdir(REPOSITORY)
    started = time.monotonic()
    subject = demo_subjects.drawings() if options.drawings else demo_subjects.photographs()
    say("serve: checkpoint → tower programs → parity → archives → TorchServe, and the gateway before it")
    key = made_key(run)
    if options.page:
        show_page(run, key, subject)
        return
    with serving(run, subject) as facts:
        say(f"  ready: space {facts['space']}, {facts['http']} and {facts['grpc']}")
        images = [path.read_bytes() for path in subject.pictures]
        with Client(facts["grpc"], token=key) as client:
            client.embed_images(images[:32])  # the first requests of a process are slower than all others
            pictures, rate = images_per_second(facts, client, images)
        say(
            f"embed: {len(images)} {subject.name} over gRPC; "
            f"{rate:.0f} images per second by Prometheus' counter"
        )
        with Client(facts["http"], token=key) as client:
            shares = ask(client, pictures, subject, sheet)
    say(f"contact sheet: {sheet}")
    say("stopped the gateway, TorchServe and its workers")
    if shares["right"] < subject.enough:
        sys.exit(
            f"demo: only {shares['right']:.0%} of the questions were answered right; "
            f"at least {subject.enough:.0%} were expected"
        )
    seconds = round(time.monotonic() - started, 1)
    print("result: " + json.dumps({**shares, "images_per_s": round(rate, 1), "seconds": seconds}))
    print("demo: OK")


if __name__ == "__main__":
    main()
