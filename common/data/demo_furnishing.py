"""What stands where in each kind of demo room. Every function fills a layout and paints the room."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

from common.data import demo_fixtures as fixtures
from common.data import demo_furniture as furniture
from common.data.demo_furniture import FABRICS, STEEL, WHITE, WOODS, Rng, pick, scaled, textured
from common.data.demo_layout import Layout, Wall
from common.data.renderer import Material, Vector

PAINTS: tuple[Vector, ...] = (
    (0.90, 0.87, 0.78), (0.78, 0.84, 0.88), (0.85, 0.80, 0.72), (0.80, 0.87, 0.78),
    (0.90, 0.82, 0.80), (0.86, 0.86, 0.86), (0.93, 0.90, 0.84), (0.74, 0.78, 0.84),
)  # fmt: skip


@dataclass(frozen=True)
class Finish:
    """The surfaces of a room."""

    wall: Material
    floor: Material
    ceiling: Material


def _paint(rng: Rng, patterned: float = 0.3) -> Material:
    color = pick(rng, PAINTS)
    if rng.random() < patterned:
        kind = rng.integers(2)
        if kind == 0:
            return textured(rng, "wallpaper", color, scaled(color, 0.85), rng.uniform(0.15, 0.3))
        return textured(rng, "stripes", color, scaled(color, 0.92), rng.uniform(0.2, 0.4))
    return Material(color)


def _planks(rng: Rng) -> Material:
    color = pick(rng, WOODS)
    return textured(rng, "planks", color, scaled(color, 0.5), rng.uniform(0.1, 0.16))


def _tiles(rng: Rng, size: float) -> Material:
    color = pick(rng, (WHITE, (0.75, 0.82, 0.86), (0.85, 0.80, 0.70), (0.62, 0.70, 0.72)))
    if rng.random() < 0.35:
        return textured(rng, "checks", color, scaled(color, 0.5), size)
    return textured(rng, "tiles", color, scaled(color, 0.62), size)


def _carpet(rng: Rng) -> Material:
    color = pick(rng, FABRICS)
    return textured(rng, "carpet", color, scaled(color, 0.8), 0.025)


def _ceiling(rng: Rng) -> Material:
    return Material(pick(rng, (WHITE,)))


def _home_finish(rng: Rng) -> Finish:
    floor = _planks(rng) if rng.random() < 0.7 else _carpet(rng)
    return Finish(_paint(rng), floor, _ceiling(rng))


def _sides(rng: Rng) -> tuple[Wall, Wall]:
    return ("left", "right") if rng.random() < 0.5 else ("right", "left")


def _chairs_around(
    layout: Layout, x: float, z: float, width: float, depth: float, rows: int
) -> None:
    """Set `rows` chairs along both long sides (z) of a table at (x, z) and one at its far end."""
    rng = layout.rng
    frame, cloth = furniture.wood(rng), furniture.fabric(rng)
    for row in range(rows):
        along = z + depth * ((row + 0.5) / rows - 0.5)
        for side in (-1, 1):
            out = x + side * (width / 2 + rng.uniform(0.22, 0.36))
            yaw = -side * pi / 2 + rng.uniform(-0.15, 0.15)
            layout.put(furniture.chair(rng, frame, cloth), out, along, yaw, check=False)
    out = z + depth / 2 + rng.uniform(0.25, 0.38)
    layout.put(furniture.chair(rng, frame, cloth), x, out, pi + rng.uniform(-0.1, 0.1), check=False)


def furnish_bedroom(layout: Layout) -> Finish:
    rng, (near, other) = layout.rng, _sides(layout.rng)
    bed = furniture.bed(rng)
    place = layout.against(bed, "back", span=(0.3, 0.7)) or layout.width / 2
    for side in (-1, 1):
        x = place + side * (bed.size[0] / 2 + 0.27)
        stand = furniture.nightstand(rng)
        if layout.against(stand, "back", at=x) and rng.random() < 0.75:
            lamp = furniture.stack(stand, furniture.table_lamp(rng), 0, 0.05)
            layout.put(lamp, x, layout.length, pi, check=False)
    if rng.random() < 0.5:
        layout.against(fixtures.picture(rng), "back", y=1.45, at=place)
    layout.against(furniture.wardrobe(rng), near, span=(0.5, 1.0))
    layout.against(fixtures.window(rng, 1.2, 1.2), other, y=0.95, span=(0.5, 1.0))
    layout.against(fixtures.window(rng, 1.0, 1.1), "back", y=1.0)
    layout.against(furniture.dresser(rng), other, span=(0.45, 1.0))
    if rng.random() < 0.6:
        layout.put_middle(
            furniture.rug(rng, 2.4, 1.6), place, layout.length - bed.size[2], check=False
        )
    return _home_finish(rng)


def furnish_bathroom(layout: Layout) -> Finish:
    rng, (near, other) = layout.rng, _sides(layout.rng)
    if rng.random() < 0.5:
        tub = fixtures.bathtub(rng)
        layout.against(
            tub, "back", at=tub.size[0] / 2 if near == "left" else layout.width - tub.size[0] / 2
        )
        if rng.random() < 0.7:
            width = rng.uniform(0.4, 0.8)
            x = width / 2 if near == "right" else layout.width - width / 2
            layout.put(
                fixtures.shower_curtain(rng, width), x, layout.length - 0.72, pi, 0.55, check=False
            )
        basin_wall, toilet_wall = near, other
    else:
        layout.against(fixtures.bathtub(rng), near, at=layout.length - 0.85)
        basin_wall, toilet_wall = "back", other
        layout.against(fixtures.toilet(rng), "back", span=(0.2, 0.8))
    span = (0.2, 0.8) if basin_wall == "back" else (0.35, 0.7)
    place = layout.against(fixtures.washbasin(rng), basin_wall, span=span)
    if place is not None:
        layout.against(fixtures.mirror(rng), basin_wall, y=1.25, at=place)
    if "toilet" not in layout.names:
        layout.against(fixtures.toilet(rng), toilet_wall, span=(0.3, 0.75))
    layout.against(fixtures.window(rng, 0.6, 0.6), "back", y=1.5)
    layout.against(fixtures.towel(rng), other, y=0.9, span=(0.5, 1.0))
    if rng.random() < 0.5:
        layout.put_middle(furniture.rug(rng, 0.9, 0.6), layout.width / 2, 0.9, check=False)
    return Finish(
        _tiles(rng, rng.uniform(0.15, 0.25)), _tiles(rng, rng.uniform(0.2, 0.3)), _ceiling(rng)
    )


def _kitchen_row(layout: Layout, color: Vector, top: Material) -> None:
    """Fill the back wall with fridge, counters, sink and stove, and cupboards above."""
    rng = layout.rng
    free = layout.width - 0.66 - 0.6
    share = rng.uniform(0.35, 0.65)
    row = ["counter", "stove", "sink"] if rng.random() < 0.5 else ["sink", "stove", "counter"]
    row.insert(0 if rng.random() < 0.5 else 3, "fridge")
    widths = {"fridge": 0.66, "stove": 0.6, "counter": free * share, "sink": free * (1 - share)}
    x = 0.0
    for item in row:
        middle = x + widths[item] / 2
        x += widths[item]
        if item in ("fridge", "stove"):
            layout.against(getattr(fixtures, item)(rng), "back", at=middle)
            continue
        base = fixtures.counter(rng, widths[item], color, top)
        layout.against(base, "back", at=middle)
        if item == "sink":
            sink = furniture.stack(base, fixtures.kitchen_sink(rng), 0, 0)
            layout.put(sink, middle, layout.length, pi, check=False)
            layout.against(
                fixtures.window(rng, min(0.9, widths[item] - 0.1), 0.9), "back", 1.15, middle
            )
        else:
            layout.against(fixtures.wall_cabinet(rng, widths[item], color), "back", 1.45, middle)


def furnish_kitchen(layout: Layout) -> Finish:
    rng, (near, other) = layout.rng, _sides(layout.rng)
    color = pick(rng, (WHITE, *WOODS, (0.45, 0.55, 0.60), (0.55, 0.62, 0.50)))
    stone = pick(rng, ((0.30, 0.30, 0.32), (0.75, 0.73, 0.70), WOODS[2]))
    top = textured(rng, "carpet", stone, scaled(stone, 0.8), 0.01)
    _kitchen_row(layout, color, top)
    if rng.random() < 0.5:
        width = rng.uniform(0.9, 1.3)
        at = layout.length - 0.68 - width / 2
        layout.against(fixtures.counter(rng, width, color, top), near, at=at)
        layout.against(fixtures.wall_cabinet(rng, width, color), near, y=1.45, at=at)
    if rng.random() < 0.6:
        x, z = layout.width * (0.72 if other == "right" else 0.28), layout.length * 0.45
        table = furniture.round_table(rng, "table", rng.uniform(0.38, 0.45), 0.75)
        if layout.put_middle(table, x, z):
            frame = furniture.wood(rng)
            for yaw, dx, dz in ((0.2, -0.1, -0.75), (pi - 0.2, 0.1, 0.75)):
                layout.put(furniture.chair(rng, frame), x + dx, z + dz, yaw, check=False)
    layout.against(fixtures.clock(rng), near, y=1.7, span=(0.5, 1.0))
    layout.against(fixtures.window(rng, 1.0, 1.0), other, y=1.05, span=(0.5, 1.0))
    wall = _paint(rng, 0.1) if rng.random() < 0.6 else _tiles(rng, 0.15)
    return Finish(wall, _tiles(rng, rng.uniform(0.3, 0.4)), _ceiling(rng))


def furnish_living_room(layout: Layout) -> Finish:
    rng, (near, other) = layout.rng, _sides(layout.rng)
    middle = layout.width * rng.uniform(0.42, 0.58)
    rug = furniture.rug(rng, rng.uniform(2.2, 2.8), rng.uniform(1.6, 2.1))
    layout.put_middle(rug, middle, layout.length - 1.9, check=False)
    if rng.random() < 0.55:
        layout.against(furniture.sofa(rng), "back", at=middle)
        layout.against(fixtures.picture(rng), "back", y=1.35, at=middle)
        layout.against(furniture.tv_stand(rng), near, span=(0.45, 0.7))
    else:
        layout.against(furniture.tv_stand(rng), "back", at=middle)
        layout.against(furniture.sofa(rng), near, span=(0.5, 0.7))
    coffee = furniture.table(rng, "coffee table", rng.uniform(0.9, 1.2), 0.6, 0.42)
    layout.put_middle(coffee, middle, layout.length - 1.9)
    layout.against(furniture.sofa(rng, seats=1), other, span=(0.45, 0.75))
    layout.against(furniture.floor_lamp(rng), "back")
    layout.against(furniture.bookshelf(rng), other if rng.random() < 0.5 else "back")
    layout.against(furniture.plant(rng), "back")
    layout.against(fixtures.window(rng, rng.uniform(1.2, 1.8), 1.3), "back", y=0.95)
    layout.against(fixtures.window(rng, 1.5, 1.3), other, y=0.95, span=(0.5, 1.0))
    layout.against(fixtures.picture(rng), near, y=1.4, span=(0.6, 1.0))
    return _home_finish(rng)


def furnish_office(layout: Layout) -> Finish:
    rng, (near, other) = layout.rng, _sides(layout.rng)
    desk = furniture.desk(rng)
    place = layout.against(desk, "back", span=(0.25, 0.75)) or layout.width / 2
    screen = furniture.stack(desk, furniture.monitor(rng), 0, 0.12)
    layout.put(screen, place + rng.uniform(-0.2, 0.2), layout.length, pi, check=False)
    if rng.random() < 0.5:
        lamp = furniture.stack(desk, furniture.table_lamp(rng), desk.size[0] / 2 - 0.2, 0.1)
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
    floor = _carpet(rng) if rng.random() < 0.6 else _planks(rng)
    return Finish(_paint(rng, 0.1), floor, _ceiling(rng))


def furnish_classroom(layout: Layout) -> Finish:
    rng, (near, other) = layout.rng, _sides(layout.rng)
    middle = layout.width / 2
    layout.against(fixtures.blackboard(rng), "back", y=0.95, at=middle)
    layout.against(fixtures.clock(rng), "back", y=2.3, at=middle + rng.uniform(-0.6, 0.6))
    layout.against(fixtures.door(rng), "back", span=(0.82, 1.0) if near == "right" else (0.0, 0.18))
    teacher = furniture.table(rng, "desk", 1.4, 0.7, 0.76)
    layout.put_middle(teacher, middle + rng.uniform(-1.2, 1.2), layout.length - 1.3)
    for share in (0.4, 0.62, 0.84):
        layout.against(fixtures.window(rng, 1.3, 1.4), other, y=1.0, at=share * layout.length)
    layout.against(furniture.bookshelf(rng, 1.2, 1.4), near, span=(0.6, 0.9))
    tops, frame = furniture.wood(rng), Material(pick(rng, (STEEL, (0.25, 0.25, 0.28))))
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
    floor = _tiles(rng, 0.5) if rng.random() < 0.5 else _planks(rng)
    return Finish(_paint(rng, 0.0), floor, _ceiling(rng))


def furnish_hallway(layout: Layout) -> Finish:
    rng, (near, other) = layout.rng, _sides(layout.rng)
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
    floor = _planks(rng) if rng.random() < 0.6 else _tiles(rng, 0.4)
    return Finish(_paint(rng, 0.3), floor, _ceiling(rng))


def furnish_dining_room(layout: Layout) -> Finish:
    rng, (near, other) = layout.rng, _sides(layout.rng)
    width, depth = rng.uniform(0.9, 1.05), rng.uniform(1.4, 1.9)
    x, z = layout.width * rng.uniform(0.45, 0.55), layout.length * 0.55
    layout.put_middle(furniture.rug(rng, width + 1.2, depth + 1.0), x, z, check=False)
    layout.put_middle(furniture.table(rng, "dining table", width, depth, 0.75), x, z)
    _chairs_around(layout, x, z, width, depth, 2 if depth < 1.6 else 3)
    lamp = furniture.pendant_lamp(rng)
    layout.put_middle(lamp, x, z, y=layout.height - lamp.size[1], check=False)
    layout.against(furniture.dresser(rng), "back")
    layout.against(furniture.plant(rng), "back")
    layout.against(fixtures.window(rng, rng.uniform(1.2, 1.6), 1.3), "back", y=0.95)
    layout.against(fixtures.picture(rng), "back", y=1.45)
    layout.against(fixtures.window(rng, 1.3, 1.3), other, y=0.95, span=(0.5, 1.0))
    layout.against(fixtures.door(rng), near, span=(0.6, 1.0))
    return _home_finish(rng)


def furnish_library(layout: Layout) -> Finish:
    rng = layout.rng
    height = rng.uniform(2.1, 2.5)
    z = 2.2
    while z < layout.length - 0.6:
        for wall in _sides(rng):
            layout.against(furniture.bookshelf(rng, 1.1, height), wall, at=z)
        z += 1.12
    if rng.random() < 0.5:
        layout.against(fixtures.window(rng, 1.4, 1.5), "back", y=0.9, at=layout.width / 2)
    for _ in range(4):
        layout.against(furniture.bookshelf(rng, 1.0, height), "back")
    x, z = layout.width / 2, layout.length * 0.55
    table = furniture.table(rng, "table", 1.0, 1.6, 0.75)
    layout.put_middle(table, x, z)
    _chairs_around(layout, x, z, 1.0, 1.6, 2)
    lamp = furniture.stack(table, furniture.table_lamp(rng), 0, 0.6)
    layout.put_middle(lamp, x, z, check=False)
    floor = _planks(rng) if rng.random() < 0.5 else _carpet(rng)
    return Finish(_paint(rng, 0.1), floor, _ceiling(rng))


def furnish_meeting_room(layout: Layout) -> Finish:
    rng, (near, other) = layout.rng, _sides(layout.rng)
    width, depth = rng.uniform(1.1, 1.3), rng.uniform(2.2, 2.8)
    x, z = layout.width / 2, layout.length * 0.58
    layout.put_middle(furniture.table(rng, "conference table", width, depth, 0.74), x, z)
    _chairs_around(layout, x, z, width, depth, 3)
    layout.against(fixtures.whiteboard(rng), "back", y=1.0, at=x)
    layout.against(furniture.plant(rng), "back", span=(0.0, 0.2) if near == "left" else (0.8, 1.0))
    for share in (0.45, 0.75):
        layout.against(fixtures.window(rng, 1.5, 1.4), other, y=0.9, at=share * layout.length)
    layout.against(fixtures.door(rng), near, span=(0.6, 0.9))
    layout.against(fixtures.clock(rng), "back", y=2.15)
    return Finish(_paint(rng, 0.0), _carpet(rng), _ceiling(rng))
