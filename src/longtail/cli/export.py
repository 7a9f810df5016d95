"""The command that writes a model for other programs, and what it prints."""

from __future__ import annotations

from pathlib import Path

from longtail.cli.next_step import note
from longtail.cli.show import lines_on_stderr, say, text
from longtail.runs.export import export
from longtail.runs.output import is_standard_output


def run_export(folder: Path, kind: str, output: Path | None, *, trust_code: bool = False) -> None:
    """Writes the model as ONNX or for timm, and says what goes in and what comes out."""
    with lines_on_stderr(output is not None and is_standard_output(output)):
        written = export(folder, kind, output, trust_code=trust_code, note=note)
        size, classes = written.predictor.config["size"], len(written.predictor.classes)
        say(f"Written: [bold]{text(written.target)}[/bold]")
        if written.difference is not None:
            say(f"Input images: uint8 (batch, 3, {size}, {size}), red, green, blue from 0 to 255; normalised inside.")
            say(f"Output scores: float32 (batch, {classes}); their softmax are the probabilities of `longtail predict`.")
            say(f"Largest difference of a score from the model's, 16 images of random pixels: {written.difference:.1e}")
        else:
            name = text(repr(f"local-dir:{written.target}"))
            say(f"Load it: timm.create_model({name}, pretrained=True)")
            say("Its outputs are the scores of `longtail predict --views 1`.")
