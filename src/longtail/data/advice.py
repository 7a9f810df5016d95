"""Sentences on what an inspection found: what is wrong, and what to do about it."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from longtail.data.class_names import said_of_near
from longtail.data.contrast import said_of_faded
from longtail.data.findings import Copies, Inspection
from longtail.data.names import split_of
from longtail.data.walking import some


def warnings_on(found: Inspection) -> tuple[str, ...]:
    """One sentence for each problem of a collection."""
    return (*_about_files(found), *_about_classes(found), *_about_splits(found))


def _about_files(found: Inspection) -> Iterator[str]:
    if found.corrupt:
        file, problem = next(iter(found.corrupt.items()))
        what = f"{_number(found.corrupt, 'file')} cannot be read (first '{file}': {problem})"
        yield f"{what}. Repair or remove {'it' if len(found.corrupt) == 1 else 'them'}, or train with `skip_corrupt`."
    if found.large:
        file, pixels = next(iter(found.large.items()))
        what = f"{_number(found.large, 'image')} above the limit of pixels (first '{file}': {pixels:,} pixels)"
        size = max(found.large.values())
        yield f"{what}. Have what is meant to be that large read with `max_pixels={size}`, or leave it out with `skip_corrupt`."
    if found.refused:
        file, problem = next(iter(found.refused.items()))
        what = f"{_number(found.refused, 'file')} must not be read (first '{file}': {problem})"
        yield f"{what}. Check permissions and the disk: training stops there, also with `skip_corrupt`."
    if found.conflicts:
        what = f"{_number(found.conflicts, 'group')} of identical files with different labels"
        yield f"{what} (first {_equal(found.conflicts)}). Keep the file with the right label in each group."
    if found.leaks:
        what = f"{_number(found.leaks, 'group')} of identical files in different splits (first {_equal(found.leaks)})"
        yield f"{what}. They make results look too good: keep one file of each group."
    if found.duplicates:
        risk = "" if found.splits else ", which may end up in both train and test"
        yield f"Further exact copies of other files: {found.duplicates:,}{risk}. Keep one file of each set of copies."
    if found.faded:
        yield said_of_faded(found.faded)
    if found.outside:
        what = f"{_number(found.outside, 'image')} in folders that training does not read ({some(found.outside)})"
        yield f"{what}. Move what you need into class folders{' below train/, val/ or test/' if found.splits else ''}."


def _about_classes(found: Inspection) -> Iterator[str]:
    if len(found.counts) < 2:
        yield f"There is one class only ({some(found.counts)}). A classifier needs at least two."
    elif all(map(split_of, found.counts)):
        yield f"The classes are called {some(found.counts)}. If they are splits, call their folders train, val and test."
    yield from said_of_near(found.counts)
    if found.empty_classes:
        yield f"Class folders without images: {some(found.empty_classes)}. Add images, or remove the folders."
    single = [name for name, count in found.counts.items() if count == 1]
    if single and not found.splits:
        it, they = ("It is", "the class") if len(single) == 1 else ("These are", "the classes")
        yield f"Classes with a single image: {some(single)}. {it} used for training, so {they} cannot be evaluated: add images."


def _about_splits(found: Inspection) -> Iterator[str]:
    absent = [name for name in ("train", "test") if found.splits and name not in found.splits]
    if absent:
        instead = "" if found.csv or "test" not in absent else ", or give the folder of train alone, to have 20 % taken for test"
        yield f"There are no images for {' and '.join(absent)}, only for {' and '.join(found.splits)}. Add some{instead}."
    for name, labels in found.missing.items():
        they, them = ("It", "it") if len(labels) == 1 else ("They", "them")
        yield f"{name} lacks {some(labels)}. {they} cannot be evaluated there: add images, or read the results without {them}."
    for name, labels in found.unknown.items():
        where = "it in the CSV" if found.csv else "the folder"
        yield f"{name} has {some(labels)}, which train lacks. Rename {where}, or add training images."


def _number(things: Collection[object], noun: str) -> str:
    return f"{len(things):,} {noun}{'' if len(things) == 1 else 's'}"


def _equal(groups: Copies) -> str:
    return " = ".join(f"'{file}'" for file in groups[0][:3])
