"""Answers as one picture: a row for each question, its words and then the photographs that were found."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from models import outputs

WIDTH, HEIGHT, LEFT, GAP = 120, 90, 220, 12  # of a photograph, of a row's words, between photographs
RIGHT, WRONG, TEXT, FAINT = "#0a7d28", "#bbbbbb", "black", "#666666"


@dataclass(frozen=True)
class Row:
    """What is written in letters that every machine has, and photographs, each with whether it is right."""

    title: str
    subtitle: str
    photographs: list[tuple[Path, bool]]


def draw(rows: Sequence[Row], target: Path) -> None:
    """Write the picture as PNG, whole or not at all; right photographs have a green frame."""
    font, small = ImageFont.load_default(18), ImageFont.load_default(13)
    row_height = HEIGHT + 2 * GAP
    most = max(len(row.photographs) for row in rows)
    sheet = Image.new("RGB", (LEFT + most * (WIDTH + GAP), row_height * len(rows)), "white")
    pen = ImageDraw.Draw(sheet)
    for number, row in enumerate(rows):
        top = number * row_height
        pen.line((0, top, sheet.width, top), fill="#dddddd")
        pen.text((16, top + 30), row.title, fill=TEXT, font=font)
        pen.text((16, top + 56), row.subtitle, fill=FAINT, font=small)
        for place, (path, right) in enumerate(row.photographs):
            left, upper = LEFT + place * (WIDTH + GAP), top + GAP
            with Image.open(path) as picture:
                sheet.paste(picture.convert("RGB").resize((WIDTH, HEIGHT)), (left, upper))
            frame = (left - 3, upper - 3, left + WIDTH + 2, upper + HEIGHT + 2)
            pen.rectangle(frame, outline=RIGHT if right else WRONG, width=3)
    target.parent.mkdir(parents=True, exist_ok=True)
    with outputs.replacing(target) as partial:
        sheet.save(partial, "PNG")
