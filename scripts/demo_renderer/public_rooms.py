"""Demo rooms at work and at school: each function furnishes a layout and paints its room."""

from __future__ import annotations

from math import pi

from scripts.demo_renderer import fixtures, furniture
from scripts.demo_renderer.finishes import (
    Finish,
    carpet,
    draw_sides,
    paint,
    planks,
    put_chairs_around,
    tiles,
    white_ceiling,
)
from scripts.demo_renderer.piece_layout import PieceLayout
from scripts.demo_renderer.pieces import FABRICS, STEEL, WOODS, pick, stack, wood
from scripts.demo_renderer.renderer import Material


def furnish_office(layout: PieceLayout) -> Finish:
    rng, (near, other) = layout.rng, draw_sides(layout.rng)
    desk = furniture.desk(rng)
    place = layout.against(desk, "back", span=(0.25, 0.75)) or layout.width / 2
    screen = stack(desk, furniture.monitor(rng), 0, 0.12)
    layout.put(screen, place + rng.uniform(-0.2, 0.2), layout.length, pi, check=False)
    if rng.random() < 0.5:
        lamp = stack(desk, furniture.table_lamp(rng), desk.size[0] / 2 - 0.2, 0.1)
        layout.put(lamp, place, layout.length, pi, check=False)
    chair_z = layout.length - rng.uniform(1.1, 1.35)
    layout.put_middle(furniture.office_chair(rng), place, chair_z, rng.uniform(-0.6, 0.6))
    layout.against(furniture.bookshelf(rng), near, span=(0.5, 1.0))
    layout.against(furniture.filing_cabinet(rng), "back")
    layout.against(furniture.filing_cabinet(rng), other, span=(0.55, 1.0))
    layout.against(furniture.plant(rng), "back")
    if rng.random() < 0.5:
        layout.against(fixtures.window(rng, 1.3, 1.0), "back", y=1.3, at=place)
    else:
        layout.against(fixtures.whiteboard(rng), "back", y=1.3, at=place)
    layout.against(fixtures.window(rng, 1.2, 1.1), other, y=1.0, span=(0.5, 1.0))
    layout.against(fixtures.picture(rng), "back", y=1.45)
    floor = carpet(rng) if rng.random() < 0.6 else planks(rng)
    return Finish(paint(rng, 0.1), floor, white_ceiling(rng))


def furnish_classroom(layout: PieceLayout) -> Finish:
    rng, (near, other) = layout.rng, draw_sides(layout.rng)
    middle = layout.width / 2
    layout.against(fixtures.blackboard(rng), "back", y=0.95, at=middle)
    layout.against(fixtures.clock(rng), "back", y=2.3, at=middle + rng.uniform(-0.6, 0.6))
    layout.against(fixtures.door(rng), "back", span=(0.82, 1.0) if near == "right" else (0.0, 0.18))
    teacher = furniture.table(rng, "desk", 1.4, 0.7, 0.76)
    layout.put_middle(teacher, middle + rng.uniform(-1.2, 1.2), layout.length - 1.3)
    for share in (0.4, 0.62, 0.84):
        layout.against(fixtures.window(rng, 1.3, 1.4), other, y=1.0, at=share * layout.length)
    layout.against(furniture.bookshelf(rng, 1.2, 1.4), near, span=(0.6, 0.9))
    tops, frame = wood(rng), Material(pick(rng, (STEEL, (0.25, 0.25, 0.28))))
    seats = Material(pick(rng, (*WOODS, FABRICS[1], FABRICS[2])))
    columns, row_z = 3, 2.0
    while row_z < layout.length - 2.3:
        for column in range(columns):
            x = layout.width * (column + 0.5) / columns + rng.uniform(-0.06, 0.06)
            layout.put_middle(
                furniture.table(rng, "desk", 1.2, 0.5, 0.74, tops), x, row_z, check=False
            )
            for dx in (-0.3, 0.3):
                chair = furniture.chair(rng, frame, seats)
                layout.put(chair, x + dx, row_z - rng.uniform(0.62, 0.72), 0.0, check=False)
        row_z += 1.45
    floor = tiles(rng, 0.5) if rng.random() < 0.5 else planks(rng)
    return Finish(paint(rng, 0.0), floor, white_ceiling(rng))


def furnish_hallway(layout: PieceLayout) -> Finish:
    rng, (near, other) = layout.rng, draw_sides(layout.rng)
    if rng.random() < 0.6:
        layout.against(fixtures.door(rng), "back", at=layout.width / 2)
    else:
        layout.against(fixtures.window(rng, 0.8, 1.3), "back", y=0.9, at=layout.width / 2)
    rug = furniture.rug(rng, layout.width * 0.55, layout.length * rng.uniform(0.6, 0.8))
    layout.put_middle(rug, layout.width / 2, layout.length * 0.55, check=False)
    for wall in (near, other):
        z = rng.uniform(2.2, 2.9)
        while z < layout.length - 0.6:
            layout.against(fixtures.door(rng), wall, at=z)
            z += rng.uniform(1.8, 2.6)
    layout.against(fixtures.coat_rack(rng), near, y=0.75, span=(0.3, 0.7))
    if layout.width > 1.5:
        layout.against(furniture.bookshelf(rng, 0.8, 0.9), other, span=(0.4, 0.8))
    for _ in range(3):
        layout.against(fixtures.picture(rng), near if rng.random() < 0.5 else other, y=1.35)
    for share in (0.35, 0.7):
        lamp = furniture.pendant_lamp(rng)
        y, z = layout.height - lamp.size[1], share * layout.length
        layout.put_middle(lamp, layout.width / 2, z, y=y, check=False)
    floor = planks(rng) if rng.random() < 0.6 else tiles(rng, 0.4)
    return Finish(paint(rng, 0.3), floor, white_ceiling(rng))


def furnish_library(layout: PieceLayout) -> Finish:
    rng = layout.rng
    height = rng.uniform(2.1, 2.5)
    z = 2.2
    while z < layout.length - 0.6:
        for wall in draw_sides(rng):
            layout.against(furniture.bookshelf(rng, 1.1, height), wall, at=z)
        z += 1.12
    if rng.random() < 0.5:
        layout.against(fixtures.window(rng, 1.4, 1.5), "back", y=0.9, at=layout.width / 2)
    for _ in range(4):
        layout.against(furniture.bookshelf(rng, 1.0, height), "back")
    x, z = layout.width / 2, layout.length * 0.55
    table = furniture.table(rng, "table", 1.0, 1.6, 0.75)
    layout.put_middle(table, x, z)
    put_chairs_around(layout, x, z, 1.0, 1.6, 2)
    lamp = stack(table, furniture.table_lamp(rng), 0, 0.6)
    layout.put_middle(lamp, x, z, check=False)
    floor = planks(rng) if rng.random() < 0.5 else carpet(rng)
    return Finish(paint(rng, 0.1), floor, white_ceiling(rng))


def furnish_meeting_room(layout: PieceLayout) -> Finish:
    rng, (near, other) = layout.rng, draw_sides(layout.rng)
    width, depth = rng.uniform(1.1, 1.3), rng.uniform(2.2, 2.8)
    x, z = layout.width / 2, layout.length * 0.58
    layout.put_middle(furniture.table(rng, "conference table", width, depth, 0.74), x, z)
    put_chairs_around(layout, x, z, width, depth, 3)
    layout.against(fixtures.whiteboard(rng), "back", y=1.0, at=x)
    layout.against(furniture.plant(rng), "back", span=(0.0, 0.2) if near == "left" else (0.8, 1.0))
    for share in (0.45, 0.75):
        layout.against(fixtures.window(rng, 1.5, 1.4), other, y=0.9, at=share * layout.length)
    layout.against(fixtures.door(rng), near, span=(0.6, 0.9))
    layout.against(fixtures.clock(rng), "back", y=2.15)
    return Finish(paint(rng, 0.0), carpet(rng), white_ceiling(rng))
