"""The titles of the toy catalogue, invented: what is a series and what belongs together shows at a glance."""

from __future__ import annotations

from typing import NamedTuple

PARTS = (6, 5, 4, 4, 3)  # parts of a genre's series, in their order below


class Genre(NamedTuple):
    """A genre: five series, and sixteen single titles made of every beginning with every ending."""

    name: str
    series: tuple[str, str, str, str, str]
    beginnings: tuple[str, str, str, str]
    endings: tuple[str, str, str, str]


GENRES = (
    Genre(
        "Mystery",
        (
            "The Lighthouse Keepers",
            "Inspector Marrow",
            "The Glass Alibi",
            "Murder on Harbour Street",
            "The Clockmaker's Cases",
        ),
        ("The Silent", "The Second", "The Crooked", "The Midnight"),
        ("Witness", "Portrait", "Letter", "Inheritance"),
    ),
    Genre(
        "Science Fiction",
        ("Orbit of Dust", "The Ninth Colony", "Signal from Vesta", "Machine Hearts", "The Long Airlock"),
        ("Beyond", "Return to", "Silence over", "The Last Map of"),
        ("Ceres", "the Red Station", "Tau Nine", "the Frozen Moon"),
    ),
    Genre(
        "Romance",
        (
            "Letters to Lisbon",
            "The Bakery on Elm Row",
            "Summer at Pine Lake",
            "Two Tickets Home",
            "The Violin Teacher's Secret",
        ),
        ("A Kiss in", "Stranded in", "One Winter in", "Falling for"),
        ("Verona", "Little Harbour", "Montmartre", "the Highlands"),
    ),
    Genre(
        "Comedy",
        (
            "My Neighbour's Goat",
            "The World's Worst Butler",
            "The Office of Lost Socks",
            "Grandma Drives Again",
            "The Accidental Mayor of Dunmore",
        ),
        ("Uncle Bert and", "Nobody Told", "Help, I Married", "Everybody Loves"),
        ("the Tuba Player", "the Penguin", "the Weatherman", "the Wedding Planner"),
    ),
    Genre(
        "Fantasy",
        ("The Ember Crown", "Wolves of Arrendal", "The Salt Witch", "The Dragonwrights", "The Hollow Throne"),
        ("The Song of", "The Curse of", "The Gates of", "The Heir of"),
        ("Ravenmoor", "the Silver Oak", "Thornwall", "the Drowned Isle"),
    ),
    Genre(
        "Adventure",
        (
            "Captain Juniper",
            "The Sunken Map",
            "Riders of the Salt Road",
            "The Peak of Thunder",
            "The Jade Compass",
        ),
        ("Lost in", "The Race across", "The Treasure of", "Escape from"),
        ("the Amber Jungle", "Storm Island", "the Painted Steppe", "Kestrel Canyon"),
    ),
    Genre(
        "Documentary",
        (
            "The Planet of Ants",
            "How Bridges Stand",
            "A Year in the Old Forest",
            "Notes from Deep Water",
            "The Story of Bread",
        ),
        ("Inside", "The Secret Life of", "A Short History of", "The Science of"),
        ("Clouds", "Honey", "Railways", "Glaciers"),
    ),
    Genre(
        "Horror",
        (
            "The House on Cold Lane",
            "Whisper Creek",
            "The Puppet Maker's Attic",
            "The Night Ferry",
            "Floor Minus One",
        ),
        ("The Shadow in", "Do Not Open", "Something beneath", "Voices from"),
        ("the Chapel", "the Well", "the Orchard", "the Nursery"),
    ),
)
